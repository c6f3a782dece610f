"""Distributions of latencies over requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from papisim import units
from papisim.arrays import Floats
from papisim.report.html.charts.axes import axis
from papisim.report.html.charts.series import decimate
from papisim.report.html.page import Chart, Plotly

_BINS = 40
#: relative difference of two latencies that are equal but for rounding
_ROUNDING = 1e-9
_QUANTILES = (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)


def chart(title: str, seconds: pd.Series) -> Chart | None:
    """Draw the histogram and the cumulative distribution of a latency; None where no request has one.

    Args:
        title: name of the latency.
        seconds: one value per request; NaN where a request has none.
    """
    values = np.sort(seconds.dropna().to_numpy(dtype=np.float64))
    if not len(values):
        return None
    counts, edges = np.histogram(values, bins=_BINS, range=_range(values))
    traces = [
        {
            "type": "bar",
            "name": "requests",
            "x": (edges[:-1] + edges[1:]) / 2,
            "y": counts,
            "width": np.diff(edges),
            "marker": {"color": "$c0/60", "line": {"width": 0}},
            "hovertemplate": "%{y} requests around %{x:.4~s}s<extra></extra>",
        },
        {**_cumulative("share at or below", values, "$c1"), "yaxis": "y2"},
    ]
    layout = {
        "xaxis": axis(title, "s"),
        "yaxis": axis("requests", rangemode="tozero"),
        "yaxis2": axis(
            "",
            "ratio",
            overlaying="y",
            side="right",
            range=[0, 1.02],
            tickvals=[0, 0.25, 0.5, 0.75, 1],
            showgrid=False,
        ),
        "bargap": 0,
    }
    quantiles = {q: float(np.quantile(values, q)) for q in _QUANTILES}
    p50, p99 = (units.format(quantiles[q], "s") for q in (0.5, 0.99))
    alt = f"Of {len(values):,} requests, half take at most {p50} and 99 % at most {p99}."
    table = pd.DataFrame({"requests": [_name(q) for q in quantiles], "at_most_s": list(quantiles.values())})
    return Chart(title, {"data": traces, "layout": layout}, alt, table, height=280)


def compared(title: str, seconds: dict[str, pd.Series[float]], colours: dict[str, str]) -> Chart | None:
    """Draw the cumulative distributions of a latency on several machines; None where no request has one.

    Args:
        title: name of the latency.
        seconds: one value per request, by machine; NaN where a request has none.
        colours: colours by machine.
    """
    spread = {label: np.sort(values.dropna().to_numpy(dtype=np.float64)) for label, values in seconds.items()}
    spread = {label: values for label, values in spread.items() if len(values)}
    if not spread:
        return None
    traces = [_cumulative(label, values, colours[label]) for label, values in spread.items()]
    layout = {"xaxis": axis(title, "s"), "yaxis": axis("share of requests", "ratio", range=[0, 1.02])}
    medians = ", ".join(
        f"{units.format(float(np.median(values)), 's')} on {label}" for label, values in spread.items()
    )
    rows = [
        {"machine": label, **{f"{_name(q)}_s": float(np.quantile(values, q)) for q in _QUANTILES}}
        for label, values in spread.items()
    ]
    return Chart(
        title, {"data": traces, "layout": layout}, f"Half take at most {medians}.", pd.DataFrame(rows), height=280
    )


def _cumulative(name: str, values: npt.NDArray[Any], colour: str) -> Plotly:
    x, share = decimate(values, np.arange(1, len(values) + 1) / len(values))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": share,
        "line": {"color": colour, "shape": "hv", "width": 2},
        "hovertemplate": "%{y:.1%} take at most %{x:.4~s}s<extra>%{fullData.name}</extra>",
    }


def _range(values: Floats) -> tuple[float, float]:
    """Return the range of the bins; values that are equal, but for rounding, get bins around them."""
    low, high = float(values[0]), float(values[-1])
    return (low, high) if high > low * (1 + _ROUNDING) else (0.9 * low, 1.1 * high or 1.0)


def _name(quantile: float) -> str:
    return {0.0: "fastest", 1.0: "slowest"}.get(quantile, f"p{100 * quantile:g}")
