"""KV cache in use."""

from __future__ import annotations

import pandas as pd

from papisim import units
from papisim.report.html.charts.axes import axis
from papisim.report.html.charts.axes import colours as colours_of
from papisim.report.html.charts.series import decimate, thinned
from papisim.report.html.page import Chart, Plotly

#: share of the capacity from which the capacity is drawn; below it, the caches would be a line along the axis
_NEAR = 0.25


def chart(steps: pd.DataFrame, peak_bytes: float, capacity_bytes: float) -> Chart | None:
    """Draw the bytes of KV caches at the start of each step, one line per server, and the capacity where it is near.

    Returns:
        The chart; None where no step ran.

    Args:
        steps: the frame of steps.
        peak_bytes: most bytes in use at once, tokens in verification included, of all servers together.
        capacity_bytes: capacity of all servers.
    """
    if steps.empty:
        return None
    servers = [str(server) for server in steps["server"].unique()]
    colours = colours_of(servers)
    traces = [_line(server, steps[steps["server"] == server], colours[server]) for server in servers]
    if peak_bytes > _NEAR * capacity_bytes:
        capacity, ends = capacity_bytes / len(servers), [float(steps["start_s"].min()), float(steps["start_s"].max())]
        line = {"color": "$ink", "dash": "longdash"}
        traces.append({"type": "scatter", "mode": "lines", "name": "capacity per server", "x": ends, "y": [capacity] * 2, "line": line})  # fmt: skip
    layout = {"xaxis": axis("time", "s"), "yaxis": axis("in use", "bytes", rangemode="tozero")}
    share = f"{peak_bytes / capacity_bytes:.2%}"
    alt = (
        f"At most {units.format(peak_bytes, 'bytes')} of {units.format(capacity_bytes, 'bytes')} are in use, {share}."
    )
    table = thinned(steps[["start_s", "kv_bytes", "kv_tokens"]], "start_s")
    return Chart(
        "KV cache",
        {"data": traces, "layout": layout},
        alt,
        table,
        f"{alt} Values are those at the start of each step.",
    )


def _line(server: str, steps: pd.DataFrame, colour: str) -> Plotly:
    x, y = decimate(steps["start_s"], steps["kv_bytes"])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": server,
        "x": x,
        "y": y,
        "fill": "tozeroy",
        "fillcolor": f"{colour}/25",
        "line": {"color": colour, "shape": "hv", "width": 2},
        "hovertemplate": f"{server}: %{{y:.4~s}}B at %{{x:.4~s}}s<extra></extra>",
    }
