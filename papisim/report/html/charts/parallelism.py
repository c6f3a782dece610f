"""RLP and TLP over decoding iterations, and the device that ran FC."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papisim.report.html.charts.axes import axis, lanes_below
from papisim.report.html.charts.series import MOST_POINTS, decimate, thinned
from papisim.report.html.page import Chart, Plotly

#: spans of one device that are drawn below the lines; more are too narrow to see
_MOST_SPANS = 400
#: spans that are listed in words
_SPANS_LISTED = 4
_LINES = (("RLP·TLP", "rows", "$c3", "solid"), ("RLP", "rlp", "$c4", "dash"), ("TLP", "tlp", "$c5", "dot"))


def chart(title: str, steps: pd.DataFrame, alpha: float | None, colours: dict[str, str]) -> Chart | None:
    """Draw RLP, TLP and RLP·TLP over decoding iterations, the threshold α, and a strip of the device that ran FC.

    Args:
        title: title of the chart.
        steps: the frame of steps, those of one server.
        alpha: PAPI's threshold; None where another policy places FC.
        colours: colours by device.
    """
    decode = steps[steps["kind"] != "prefill"]
    if decode.empty:
        return None
    alone, mixed = decode[decode["kind"] == "decode"], decode[decode["kind"] == "mixed"]
    traces = [_line(alone, *line) for line in _LINES]
    if len(mixed):
        traces.append(_with_prompts(mixed))
    if alpha is not None:
        ends = [int(decode["index"].iloc[0]), int(decode["index"].iloc[-1])]
        line = {"color": "$ink", "dash": "longdash", "width": 1.5}
        traces.append({"type": "scatter", "mode": "lines", "name": f"α = {alpha:g}", "x": ends, "y": [alpha, alpha], "line": line})  # fmt: skip
    spans = placement_spans(decode)
    few = len(spans) <= _MOST_SPANS
    devices = list(decode["fc_device"].unique())
    traces += [_strip(device, spans, colours) for device in devices] if few else [_shares(devices, decode)]
    layout = _layout(decode, few=few)
    columns = ["index", "rlp", "tlp", "rows", "fc_device"]
    return Chart(
        title,
        {"data": traces, "layout": layout},
        _in_words(decode, spans, alpha),
        thinned(decode[columns], "index"),
        "The strip below shows the device that ran FC kernels. "
        + (f"FC runs on the processing units while RLP·TLP > α = {alpha:g}." if alpha is not None else ""),
        wide=True,
        height=400,
    )


def _layout(decode: pd.DataFrame, *, few: bool) -> Plotly:
    return {
        "xaxis": axis("decoding iteration", anchor="y2"),
        "yaxis": axis(
            "requests, tokens, token-rows", type="log", domain=[0.16, 1], **_powers_of_two(decode["rows"].max())
        ),
        **lanes_below(domain=[0, 0.07] if few else [0, 0.11], showticklabels=not few),
    }


def placement_spans(decode: pd.DataFrame) -> pd.DataFrame:
    """Return runs of iterations with the same FC device: ``device``, ``first``, ``count``."""
    device = decode["fc_device"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], device[1:] != device[:-1]]))
    counts = np.diff(np.append(starts, len(device)))
    return pd.DataFrame({"device": device[starts], "first": decode["index"].to_numpy()[starts], "count": counts})


def _line(decode: pd.DataFrame, name: str, column: str, colour: str, dash: str) -> Plotly:
    x, y = decimate(decode["index"], decode[column])
    line = {"color": colour, "dash": dash, "width": 2, "shape": "hv"}
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line, "hovertemplate": f"{name} %{{y:.4~g}}, iteration %{{x}}<extra></extra>"}  # fmt: skip


def _strip(device: str, spans: pd.DataFrame, colours: dict[str, str]) -> Plotly:
    own = spans[spans["device"] == device]
    return {
        "type": "bar",
        "orientation": "h",
        "name": f"FC on {device}",
        "y": ["FC"] * len(own),
        "x": own["count"],
        "base": own["first"],
        "width": 1,
        "yaxis": "y2",
        "marker": {"color": colours.get(device, "$muted"), "line": {"width": 0}},
        "hovertemplate": f"FC on {device} from iteration %{{base}}<extra></extra>",
    }


def _shares(devices: list[str], decode: pd.DataFrame) -> Plotly:
    """Return the share of iterations that FC ran on each device, over equal spans of iterations, in place of too many spans."""
    bins = np.arange(len(decode)) * _MOST_SPANS // len(decode)
    return {
        "type": "heatmap",
        "x": decode["index"].groupby(bins).first(),
        "y": devices,
        "z": [(decode["fc_device"] == device).groupby(bins).mean() for device in devices],
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "$grid"], [1, "$c0"]],
        "showscale": False,
        "ygap": 1,
        "yaxis": "y2",
        "hovertemplate": "FC on %{y} in %{z:.0%} of the iterations around %{x}<extra></extra>",
    }


def _with_prompts(mixed: pd.DataFrame) -> Plotly:
    """Return the token-rows of iterations with prompts, as points; a line would hide the others."""
    shown = mixed.iloc[:: max(1, len(mixed) // MOST_POINTS)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "token-rows with prompts",
        "x": shown["index"],
        "y": shown["rows"],
        "marker": {"color": "$c6", "size": 4, "symbol": "diamond"},
        "hovertemplate": "%{y} token-rows, prompts among them, iteration %{x}<extra></extra>",
    }


def _powers_of_two(top: float) -> Plotly:
    exponents = range(int(np.ceil(np.log2(max(2.0, top)))) + 1)
    every = max(1, len(exponents) // 8)
    return {"tickvals": [2**exponent for exponent in exponents][::every]}


def _in_words(decode: pd.DataFrame, spans: pd.DataFrame, alpha: float | None) -> str:
    first, last = decode.iloc[0], decode.iloc[-1]
    text = (
        f"Over {len(decode):,} iterations RLP goes from {first['rlp']} to {last['rlp']} and RLP·TLP from {first['rows']} to "
        f"{last['rows']}, with at most {decode['rows'].max()}."
    )
    where = [f"{row.device} from iteration {row.first}" for row in spans.head(_SPANS_LISTED).itertuples()]
    more = f", and {len(spans) - _SPANS_LISTED} more changes" if len(spans) > _SPANS_LISTED else ""
    threshold = f" The threshold α is {alpha:g}." if alpha is not None else ""
    return f"{text} FC runs on {', on '.join(where)}{more}.{threshold}"
