"""Runs beside each other: ratios to one of them, and what their time and energy consist of."""

from __future__ import annotations

from typing import Any

import pandas as pd

from papisim.report.html.charts.axes import axis
from papisim.report.html.charts.axes import colours as colours_of
from papisim.report.html.page import Chart


def chart(title: str, values: dict[str, float], baselines: dict[str, str], note: str) -> Chart:
    """Draw how many times better each run is than each baseline.

    Args:
        title: what is better.
        values: what each run takes, the less the better, by label.
        baselines: label of each baseline → what it is to be called.
        note: what the ratio is of.
    """
    table = pd.DataFrame({"machine": list(values)})
    for label, name in baselines.items():
        table[f"over {name}_ratio"] = [values[label] / value for value in values.values()]
    colours = colours_of(list(baselines.values()))
    traces = [_bars(table, name, colours[name]) for name in baselines.values()]
    layout = {
        "barmode": "group",
        "xaxis": {"type": "category"},
        "yaxis": axis("times better", ticksuffix="×", tickformat="~g", rangemode="tozero"),
        "shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "line": {"color": "$muted", "width": 1, "dash": "dot"}}],
    }  # fmt: skip
    first = next(iter(baselines))
    told = ", ".join(f"{label} {values[first] / value:.2f}×" for label, value in values.items())
    return Chart(title, {"data": traces, "layout": layout}, f"Over {baselines[first]}: {told}.", table, note)


def _bars(table: pd.DataFrame, name: str, colour: str) -> dict[str, Any]:
    ratios = table[f"over {name}_ratio"]
    return {
        "type": "bar",
        "name": f"over {name}",
        "x": table["machine"],
        "y": ratios,
        "text": [f"{ratio:.2f}×" for ratio in ratios],
        "textposition": "inside",
        "textangle": -90,
        "insidetextanchor": "end",
        "marker": {"color": colour},
        "hovertemplate": f"%{{x}}: %{{y:.3f}}× {name}<extra></extra>",
    }
