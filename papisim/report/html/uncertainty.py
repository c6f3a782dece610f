"""Intervals on pages of runs and comparisons."""

from __future__ import annotations

import pandas as pd

from papisim.report.html.charts.axes import axis
from papisim.report.html.charts.ratios import Spans
from papisim.report.html.page import Chart, Page, Table, cell, heading
from papisim.results.folder import Results

_FRAME = "uncertainty"
_INTRO = (
    "90 % intervals, from the measured errors of the models inside and outside their fits and the ranges of assumed "
    "constants. Machines that share a part share its error, which cancels in their ratio."
)


def add_uncertainty(page: Page, results: Results) -> None:
    """Add a section with the intervals of a run or a comparison, if it was made with any."""
    if _FRAME not in results.frame_names:
        return
    rows = results.frame(_FRAME)
    page.section("How sure", _INTRO).add(_chart(rows), Table("Intervals", _table(rows)))


def ratio_spans(results: Results, figure: str) -> Spans | None:
    """Return the interval of a ratio of each machine to the first; None of results without intervals."""
    if _FRAME not in results.frame_names:
        return None
    rows = results.frame(_FRAME)
    rows = rows[rows["figure"] == figure]
    return {row["machine"]: (row["low"], row["high"]) for row in rows.to_dict("records")}


def _chart(rows: pd.DataFrame) -> Chart:
    """Draw each figure's interval relative to its value."""
    several = rows["machine"].nunique() > 1
    names = [
        f"{row['machine']}: {heading(row['figure'])}" if several else heading(row["figure"])
        for row in rows.to_dict("records")
    ]
    low, high = (rows[end] / rows["value"] for end in ("low", "high"))
    table = pd.DataFrame({"figure": names, "low_ratio": low, "high_ratio": high})
    trace = {
        "type": "scatter", "mode": "markers", "name": "as simulated", "x": [1.0] * len(rows), "y": names,
        "marker": {"color": "$c0", "size": 9},
        "error_x": {"type": "data", "symmetric": False, "array": high - 1, "arrayminus": 1 - low, "color": "$c0", "thickness": 2, "width": 6},
        "hovertemplate": "%{y}<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": axis("truth over simulation", ticksuffix="×", tickformat="~g"),
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
        "showlegend": False,
    }
    widest = int((high / low).to_numpy().argmax())
    alt = f"The widest interval is that of {names[widest]}: {low.iloc[widest]:.2f}× to {high.iloc[widest]:.2f}× the simulated value."
    return Chart(
        "Intervals over simulated figures",
        {"data": [trace], "layout": layout},
        alt,
        table,
        wide=True,
        height=140 + 28 * len(rows),
    )


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    shown = rows.to_dict("records")
    columns = {
        "machine": rows["machine"],
        "figure": [heading(row["figure"]) for row in shown],
        **{
            title: [cell(row["figure"], row[end]) for row in shown]
            for title, end in (("simulated", "value"), ("5 %", "low"), ("95 %", "high"))
        },
        "better than the first": [_probability(row["better_probability"]) for row in shown],
        "dominated by": rows["dominant_factor"].fillna("—"),
        "share of variance": [_probability(row["dominant_variance_ratio"]) for row in shown],
        "evidence": rows["dominant_source"].fillna("—"),
    }
    return pd.DataFrame(columns)


def _probability(value: float) -> str:
    return "—" if pd.isna(value) else f"{value:.0%}"
