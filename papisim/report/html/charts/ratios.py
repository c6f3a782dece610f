"""Ratios of runs to baselines."""

from __future__ import annotations

import pandas as pd

from papisim.report.figures import times
from papisim.report.html.charts.axes import axis
from papisim.report.html.charts.axes import colours as colours_of
from papisim.report.html.page import Chart, Plotly
from papisim.results.comparison import improvement

#: ends of an interval by label
Spans = dict[str, tuple[float, float]]


def chart(
    quantity: str, values: dict[str, float | None], baselines: dict[str, str], note: str, spans: Spans | None = None
) -> Chart | None:
    """Draw the ratio of each baseline's value to that of each run; above 1 the run is better.

    Returns:
        The chart; None where no baseline has a value.

    Args:
        quantity: name of the ratio, such as ``speed-up``.
        values: time or energy of each run, by label; None where it did no work.
        baselines: label of each baseline → its name in the chart.
        note: definition of the ratio.
        spans: intervals of the ratios to the first baseline, which are drawn as error bars; None without.
    """
    table = pd.DataFrame({"machine": list(values)})
    baselines = {label: name for label, name in baselines.items() if values[label]}
    if not baselines:
        return None
    for label, name in baselines.items():
        quotients = [improvement(values[label], value) for value in values.values()]
        table[f"over {name}_ratio"] = pd.Series(quotients, dtype=float)
    colours = colours_of(list(baselines.values()))
    traces = [_bars(table, name, colours[name]) for name in baselines.values()]
    if spans:
        traces[0] |= {"error_y": _error_bars(table, traces[0]["y"], spans)}
        note += " Bars with ends are 90 % intervals."
    layout = {
        "barmode": "group",
        "xaxis": {"type": "category"},
        "yaxis": axis(f"{quantity} (×)", ticksuffix="×", tickformat="~g", rangemode="tozero"),
        "shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "line": {"color": "$muted", "width": 1, "dash": "dot"}}],
    }  # fmt: skip
    first = next(iter(baselines))
    ratios = ", ".join(f"{label} {times(improvement(values[first], value))}" for label, value in values.items())
    return Chart(
        quantity.capitalize(), {"data": traces, "layout": layout}, f"Over {baselines[first]}: {ratios}.", table, note
    )


def _error_bars(table: pd.DataFrame, ratios: pd.Series[float], spans: Spans) -> Plotly:
    """Return the error bars of ratios, as distances from them; none where there is no interval."""
    ends = [spans.get(label, (ratio, ratio)) for label, ratio in zip(table["machine"], ratios, strict=True)]
    return {
        "type": "data", "symmetric": False, "color": "$ink", "thickness": 1.5, "width": 6,
        "array": [high - ratio for (_, high), ratio in zip(ends, ratios, strict=True)],
        "arrayminus": [ratio - low for (low, _), ratio in zip(ends, ratios, strict=True)],
    }  # fmt: skip


def _bars(table: pd.DataFrame, name: str, colour: str) -> Plotly:
    ratios = table[f"over {name}_ratio"]
    return {
        "type": "bar",
        "name": f"over {name}",
        "x": table["machine"],
        "y": ratios,
        "text": [times(None if pd.isna(ratio) else ratio) for ratio in ratios],
        "textposition": "inside",
        "textangle": -90,
        "insidetextanchor": "end",
        "marker": {"color": colour},
        "hovertemplate": f"%{{x}}: %{{y:.3f}}× {name}<extra></extra>",
    }
