"""Utilisation of devices and power over time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papisim import units
from papisim.ops.cost import ENERGY_PARTS
from papisim.report.html.charts.axes import axis
from papisim.report.html.charts.axes import colours as colours_of
from papisim.report.html.charts.series import bin_edges, per_bin, thinned
from papisim.report.html.page import Chart

_BINS = 240


def devices(steps: pd.DataFrame, resources: list[str], n_servers: int = 1) -> Chart | None:
    """Draw the share of time that each device and link is busy, in equal spans of the run; None where no step ran.

    Args:
        steps: the frame of steps.
        resources: devices and links, in the order of the rows.
        n_servers: number of equal machines; a share is that of all.
    """
    if steps.empty:
        return None
    edges = bin_edges(steps, _BINS)
    width = edges[1] - edges[0]
    busy = {
        name: per_bin(steps["start_s"], steps["time_s"], steps[f"busy_{name}_s"], edges) / (width * n_servers)
        for name in resources
    }
    trace = {
        "type": "heatmap",
        "x": edges,
        "y": resources,
        "z": [busy[name] for name in resources],
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "$grid"], [1, "$c0"]],
        "colorbar": {"thickness": 10, "tickformat": ".0%", "outlinewidth": 0, "len": 0.9},
        "ygap": 3,
        "hovertemplate": "%{y} busy %{z:.1%} around %{x:.4~s}s<extra></extra>",
    }
    layout = {"xaxis": axis("time", "s"), "yaxis": {"autorange": "reversed", "showgrid": False}}
    overall = {name: steps[f"busy_{name}_s"].sum() / (edges[-1] * n_servers) for name in resources}
    alt = "Over the whole run: " + ", ".join(f"{name} is busy {share:.1%}" for name, share in overall.items()) + "."
    table = thinned(
        pd.DataFrame({"from_s": edges[:-1], **{f"{name} busy_ratio": values for name, values in busy.items()}}),
        "from_s",
    )
    note = f"Each cell is {units.format(width, 's', 3)}; a batch in flight keeps one device or link busy at a time."
    return Chart(
        "Devices over time",
        {"data": [trace], "layout": layout},
        alt,
        table,
        note,
        wide=True,
        height=110 + 34 * len(resources),
    )


def power(steps: pd.DataFrame, static_w: float) -> Chart | None:
    """Draw the power of all machines over time, by part; None where no step ran.

    Args:
        steps: the frame of steps.
        static_w: static power of all machines, W.
    """
    if steps.empty:
        return None
    edges = bin_edges(steps, _BINS)
    width = edges[1] - edges[0]
    parts = [part for part in ENERGY_PARTS if part != "static_j" and steps[part].sum() > 0]
    parts.sort(key=lambda part: -steps[part].sum())
    drawn = {"static": np.full(_BINS, static_w)} | {
        part.removesuffix("_j"): per_bin(steps["start_s"], steps["time_s"], steps[part], edges) / width
        for part in parts
    }
    colours = colours_of([part.removesuffix("_j") for part in ENERGY_PARTS])
    middles = (edges[:-1] + edges[1:]) / 2
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "stackgroup": "power",
            "name": name,
            "x": middles,
            "y": watts,
            "line": {"width": 0.5, "color": colours[name]},
            "fillcolor": f"{colours[name]}/70",
            "hovertemplate": f"{name} %{{y:.4~s}}W<extra></extra>",
        }
        for name, watts in drawn.items()
    ]
    total = np.sum(list(drawn.values()), axis=0)
    mean_w = static_w + float(steps[parts].sum().sum() / edges[-1])
    alt = (
        f"The mean power is {units.format(mean_w, 'w')}, the highest over {units.format(width, 's', 3)} "
        f"{units.format(float(total.max()), 'w')}."
    )
    layout = {"xaxis": axis("time", "s"), "yaxis": axis("power", "w", rangemode="tozero"), "hovermode": "x unified"}
    table = thinned(
        pd.DataFrame({"from_s": edges[:-1], **{f"{name}_w": watts for name, watts in drawn.items()}}), "from_s"
    )
    return Chart("Power over time", {"data": traces, "layout": layout}, alt, table)
