"""A figure of machines and policies over one input, one chart per facet."""

from __future__ import annotations

import pandas as pd

from papisim import units
from papisim.report.facets import Facet, less_is_better
from papisim.report.figures import times
from papisim.report.html.charts.axes import axis
from papisim.report.html.page import Chart, Plotly, cell, heading

#: a horizontal axis whose largest value is this many times the smallest is logarithmic
_WIDE = 8.0
#: values of a horizontal axis that each have a tick
_TICKS = 12


def lines(facet: Facet, across: str, figure: str, colours: dict[str, str]) -> Chart | None:
    """Draw a figure over the horizontal axis, one line per machine and policy; None where no point has the figure.

    Args:
        facet: its points.
        across: the input on the horizontal axis.
        figure: the column on the vertical one.
        colours: colours by line.
    """
    drawn = [_line(number, label, facet, figure, colours) for number, label in enumerate(facet.lines)]
    if not any(value is not None for line in facet.lines.values() for value in line):
        return None
    layout = {
        "xaxis": _across(facet, across),
        "yaxis": axis(heading(figure), units.unit_of(figure), rangemode="tozero"),
    }
    title = f"{heading(figure).capitalize()} by {across}" + (f" · {facet.title}" if facet.title else "")
    return Chart(
        title, {"data": drawn, "layout": layout}, _in_words(facet, across, figure), _table(facet, across, figure)
    )


def _line(number: int, label: str, facet: Facet, figure: str, colours: dict[str, str]) -> Plotly:
    values = facet.lines[label]
    texts = [cell(figure, value) + (f", {times(ratio)}" if ratio is not None else "")
             for value, ratio in zip(values, facet.ratios[label], strict=True)]  # fmt: skip
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label,
        "x": facet.across,
        "y": values,
        "text": texts,
        "hovertemplate": "%{text}<extra>" + label + "</extra>",
        "line": {"color": colours[label], "width": 2},
        "marker": {"symbol": number, "size": 8},
    }


def _across(facet: Facet, across: str) -> Plotly:
    values = [each for each in facet.across if isinstance(each, (int, float))]
    if len(values) < len(facet.across):
        return {"title": {"text": across}, "type": "category"}
    ticks = {"tickvals": values, "ticktext": [f"{each:g}" for each in values]} if len(values) <= _TICKS else {}
    wide = values[0] > 0 and values[-1] >= _WIDE * values[0]
    return axis(heading(across), units.unit_of(across), **({"type": "log", **ticks} if wide else ticks))


def _in_words(facet: Facet, across: str, figure: str) -> str:
    """Name the best line at the first and at the last place."""
    best = min if less_is_better(figure) else max
    said = []
    for index in sorted({0, len(facet.across) - 1}):
        here = {label: line[index] for label, line in facet.lines.items()}
        found = {label: value for label, value in here.items() if value is not None}
        if found:
            label = best(found, key=found.__getitem__)
            ratio = facet.ratios[label][index]
            beside = "" if ratio is None else f", {times(ratio)} {next(iter(facet.lines))}"
            said.append(
                f"At {across} {facet.across[index]} the best is {label} with {cell(figure, found[label])}{beside}."
            )
    return " ".join(said)


def _table(facet: Facet, across: str, figure: str) -> pd.DataFrame:
    unit = units.unit_of(figure)
    columns = {
        name: values
        for label, line in facet.lines.items()
        for name, values in (
            (f"{label}_{unit}" if unit else label, line),
            (f"{label} ratio", [times(ratio) for ratio in facet.ratios[label]]),
        )
    }
    return pd.DataFrame({across: facet.across, **columns})
