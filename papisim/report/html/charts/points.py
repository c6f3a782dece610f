"""Points of a sweep: gain over cost with the Pareto front, and the effect of each input."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papisim import units
from papisim.report.html.charts.axes import axis
from papisim.report.html.charts.axes import colours as colours_of
from papisim.report.html.page import Chart, Plotly, cell, heading

#: points that are drawn; more hide each other
_MOST_POINTS = 4000


def trade_off(points: pd.DataFrame, gain: str, spent: str, inputs: list[str], by: str | None) -> Chart:
    """Draw the gain of every point over its cost, and the Pareto front.

    Args:
        points: one row per point.
        gain: a column of which more is better.
        spent: a column of which less is better.
        inputs: columns that identify points.
        by: the input by which points are coloured, if any.
    """
    front = pareto(points, gain, spent)
    shown = points if len(points) <= _MOST_POINTS else points.sample(_MOST_POINTS, random_state=0)
    groups = list(shown.groupby(by, sort=False, dropna=False)) if by is not None else [("points", shown)]
    colours = colours_of([str(name) for name, _ in groups])
    traces = [
        _cloud(str(name), group, gain, spent, inputs=inputs, colour=colours[str(name)]) for name, group in groups
    ]
    line = {"color": "$ink", "dash": "dot", "width": 1.5, "shape": "vh"}
    traces.append({"type": "scatter", "mode": "lines", "name": "Pareto front", "x": front[spent], "y": front[gain], "line": line, "hoverinfo": "skip"})  # fmt: skip
    layout = {
        "xaxis": axis(heading(spent), units.unit_of(spent)),
        "yaxis": axis(heading(gain), units.unit_of(gain)),
        "hovermode": "closest",
    }
    first, last = front.iloc[0], front.iloc[-1]
    alt = (
        f"{len(points):,} points, {len(front)} of them Pareto-optimal: from {cell(gain, first[gain])} at "
        f"{cell(spent, first[spent])} to {cell(gain, last[gain])} at {cell(spent, last[spent])}."
    )
    note = (
        ""
        if len(shown) == len(points)
        else f"{len(shown):,} points, drawn at random, are shown; the front is that of all."
    )
    return Chart(
        f"{heading(gain).capitalize()} against {heading(spent)}",
        {"data": traces, "layout": layout},
        alt,
        front[[*inputs, gain, spent]],
        note,
        wide=True,
        height=440,
    )


def pareto(points: pd.DataFrame, gain: str, spent: str) -> pd.DataFrame:
    """Return the Pareto-optimal points, sorted by cost."""
    ordered = points.dropna(subset=[gain, spent]).sort_values([spent, gain], ascending=[True, False])
    before = ordered[gain].astype(float).cummax().shift(fill_value=-np.inf)
    return ordered[ordered[gain] > before]


def effect(points: pd.DataFrame, metric: str, name: str, *, mean: bool = True) -> Chart:
    """Draw a metric over the values of one input: every point, and the mean per value.

    Args:
        points: one row per point.
        metric: the column drawn.
        name: the input's column.
        mean: draw the mean; points of several models have none that means anything.
    """
    means = points.groupby(name, sort=False)[metric].agg(["mean", "min", "max", "size"]).reset_index()
    numeric = pd.api.types.is_numeric_dtype(points[name])
    means = means.sort_values(name) if numeric else means
    over = {"title": {"text": name}} if not numeric else axis(heading(name), units.unit_of(name))
    shown = points if len(points) <= _MOST_POINTS else points.sample(_MOST_POINTS, random_state=0)
    traces = [
        {"type": "scatter", "mode": "markers", "name": "points", "x": shown[name], "y": shown[metric], "marker": {"color": "$c0/60", "size": 6}},
        {"type": "scatter", "mode": "lines+markers", "name": "mean", "x": means[name], "y": means["mean"], "line": {"color": "$c1", "width": 2}, "marker": {"size": 9, "symbol": "diamond"}},
    ]  # fmt: skip
    if not mean:
        traces.pop()
    layout = {
        "xaxis": over if numeric else {**over, "type": "category"},
        "yaxis": axis(heading(metric), units.unit_of(metric)),
    }
    means_by_value = ", ".join(
        (
            f"{cell(metric, row['mean'])} at"
            if mean
            else f"{cell(metric, row['min'])} to {cell(metric, row['max'])} at"
        )
        + f" {cell(name, row[name])}"
        for row in means.head(8).to_dict("records")
    )
    unit = units.unit_of(metric)
    table = means.rename(
        columns={column: f"{column}_{unit}" for column in ("mean", "min", "max") if unit} | {"size": "n_points"}
    )
    return Chart(
        f"{heading(metric).capitalize()} by {name}",
        {"data": traces, "layout": layout},
        f"{'On average' if mean else 'From'} {means_by_value}.",
        table if mean else table.drop(columns=f"mean_{unit}" if unit else "mean"),
        height=300,
    )


def _cloud(name: str, group: pd.DataFrame, gain: str, spent: str, *, inputs: list[str], colour: str) -> Plotly:
    text = [
        "<br>".join(f"{each}: {cell(each, row[each])}" for each in inputs) for row in group[inputs].to_dict("records")
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": group[spent],
        "y": group[gain],
        "text": text,
        "hovertemplate": "%{text}<br>%{y:.4~s}, %{x:.4~s}<extra></extra>",
        "marker": {"color": colour, "size": 8, "opacity": 0.8},
    }
