"""Roofline of the kernels of a few steps, by device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from papisim import units
from papisim.report.html.charts.axes import axis
from papisim.report.html.page import Chart, Plotly

_SYMBOLS = {"fc": "circle", "attention": "diamond", "other": "square"}
_SMALLEST, _LARGEST = 6.0, 22.0
_FINEST = 60


def chart(kernels: pd.DataFrame, devices: pd.DataFrame, colours: dict[str, str]) -> Chart | None:
    """Draw achieved FLOP/s over arithmetic intensity, one point per kernel and step, one roof per device.

    Args:
        kernels: the frame ``kernels``.
        devices: the frame ``devices``.
        colours: colours by device.
    """
    points = placed(kernels, devices)
    if points.empty:
        return None
    roofs = devices[devices["device"].isin(points["resource"])]
    low, high = 0.5 * points["intensity"].min(), 2 * max(points["intensity"].max(), _ridges(roofs).max())
    traces = [_roof(row, low, high, colours) for _, row in roofs.iterrows()]
    for (device, category), group in points.groupby(["resource", "category"], sort=False):
        traces.append(_points(str(device), str(category), group, colours))
    layout = {
        "xaxis": axis("arithmetic intensity, FLOP/B", type="log", tickformat="~g"),
        "yaxis": axis("achieved", "flop_per_s", type="log"),
        "hovermode": "closest",
    }
    columns = [
        "resource", "kernel", "shape", "step", "n_times", "time_s", "bound", "intensity", "achieved_flop_per_s", "of_roof_ratio",
    ]  # fmt: skip
    table = points.sort_values("of_step_s", ascending=False)[columns].rename(columns={"of_roof_ratio": "of roof"})
    return Chart(
        "Roofline of every kernel",
        {"data": traces, "layout": layout},
        _in_words(points, roofs),
        table,
        "Circles are FC, diamonds attention, squares other kernels; the size is the kernel's share of its step's time. The steps "
        "drawn are the first prefill, the first, middle and last iteration, and those around changes of placement. A kernel "
        "whose operands are in cache may lie above the memory roof; kernels that only move data are not drawn.",
        wide=True,
        height=480,
    )


def placed(kernels: pd.DataFrame, devices: pd.DataFrame) -> pd.DataFrame:
    """Return the kernels that compute, each with its intensity, its rate and its distance from the roof."""
    points = kernels[(kernels["flop"] > 0) & (kernels["time_s"] > 0)].copy()
    points = points.merge(
        devices[["device", "peak_flop_per_s", "bandwidth_bytes_per_s"]], left_on="resource", right_on="device"
    )
    points["intensity"] = points["flop"] / points["moved_bytes"]
    points["achieved_flop_per_s"] = points["flop"] / points["time_s"]
    roof = np.minimum(points["peak_flop_per_s"], points["intensity"] * points["bandwidth_bytes_per_s"])
    points["of_roof_ratio"] = (points["achieved_flop_per_s"] / roof).map("{:.1%}".format)
    points["of_step_s"] = points["time_s"] * points["n_times"]
    points["step"] = points["kind"] + " " + points["index"].astype(str)
    step_s = points.groupby("step")["of_step_s"].transform("sum")
    points["share"] = points["of_step_s"] / step_s
    return points


def _ridges(roofs: pd.DataFrame) -> pd.Series[float]:
    return roofs["peak_flop_per_s"] / roofs["bandwidth_bytes_per_s"]


def _roof(roof: pd.Series[Any], low: float, high: float, colours: dict[str, str]) -> Plotly:
    x = np.geomspace(low, high, _FINEST)
    x = np.sort(np.append(x, roof["peak_flop_per_s"] / roof["bandwidth_bytes_per_s"]))
    device = roof["device"]
    text = f"{device}: {units.format(roof['peak_flop_per_s'], 'flop_per_s')}, {units.format(roof['bandwidth_bytes_per_s'], 'bytes_per_s')}"
    return {
        "type": "scatter",
        "mode": "lines",
        "legendgroup": device,
        "name": device,
        "x": x,
        "y": np.minimum(roof["peak_flop_per_s"], x * roof["bandwidth_bytes_per_s"]),
        "line": {"color": colours.get(device, "$muted"), "width": 2},
        "hovertemplate": f"{text}<extra></extra>",
    }


def _points(device: str, category: str, group: pd.DataFrame, colours: dict[str, str]) -> Plotly:
    text = [
        f"<b>{row['kernel']}</b> on {device}<br>{row['shape']}<br>{row['step']}, RLP·TLP {row['rows']}<br>"
        f"{units.format(row['time_s'], 's')} × {row['n_times']}, {row['bound']}<br>{row['of_roof_ratio']} of the roof"
        for row in group.to_dict("records")
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "legendgroup": device,
        "name": device,
        "showlegend": False,
        "x": group["intensity"],
        "y": group["achieved_flop_per_s"],
        "text": text,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "color": colours.get(device, "$muted"),
            "symbol": _SYMBOLS.get(category, "square"),
            "size": _SMALLEST + (_LARGEST - _SMALLEST) * np.sqrt(group["share"]),
            "opacity": 0.75,
            "line": {"width": 1, "color": "$paper"},
        },
    }


def _in_words(points: pd.DataFrame, roofs: pd.DataFrame) -> str:
    ridges = ", ".join(
        f"{device} turns from memory- to compute-bound at {ridge:.3g} FLOP/B"
        for device, ridge in zip(roofs["device"], _ridges(roofs), strict=True)
    )
    heaviest = points.sort_values("of_step_s").iloc[-1]
    return (
        f"{len(points)} kernels on {len(roofs)} devices. {ridges}. The longest in a step is {heaviest['kernel']} on "
        f"{heaviest['resource']} in {heaviest['step']}, at {heaviest['intensity']:.3g} FLOP/B and {heaviest['of_roof_ratio']} "
        f"of its roof, limited by {heaviest['bound']}."
    )
