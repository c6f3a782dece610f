"""What is in flight over the decoding iterations, and where FC ran meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from papisim.report.charts.axes import axis
from papisim.report.charts.series import decimate, thinned
from papisim.report.page import Chart

#: spans of one device that are drawn below the lines; more are too narrow to see
_MOST_SPANS = 400
#: spans that are told in words
_SPANS_TOLD = 4
_LINES = (("RLP·TLP", "rows", "$c3", "solid"), ("RLP", "rlp", "$c4", "dash"), ("TLP", "tlp", "$c5", "dot"))


def chart(steps: pd.DataFrame, alpha: float | None, colours: dict[str, str]) -> Chart | None:
    """Draw RLP, TLP and RLP·TLP over decoding iterations, the threshold α, and a strip of where FC ran.

    Args:
        steps: the frame of steps.
        alpha: PAPI's threshold; None where another policy places FC.
        colours: by device.
    """
    decode = steps[steps["kind"] == "decode"]
    if decode.empty:
        return None
    traces = [_line(decode, *line) for line in _LINES]
    if alpha is not None:
        ends = [int(decode["index"].iloc[0]), int(decode["index"].iloc[-1])]
        line = {"color": "$ink", "dash": "longdash", "width": 1.5}
        traces.append({"type": "scatter", "mode": "lines", "name": f"α = {alpha:g}", "x": ends, "y": [alpha, alpha], "line": line})  # fmt: skip
    spans = placement_spans(decode)
    traces += [_strip(device, spans, colours) for device in spans["device"].unique()]
    layout = {
        "xaxis": axis("decoding iteration", anchor="y2"),
        "yaxis": axis(
            "requests, tokens, token-rows", type="log", domain=[0.16, 1], **_powers_of_two(decode["rows"].max())
        ),
        "yaxis2": {
            "domain": [0, 0.07],
            "showticklabels": False,
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        "barmode": "overlay",
        "bargap": 0,
        "hovermode": "closest",
    }
    columns = ["index", "rlp", "tlp", "rows", "fc_device"]
    return Chart(
        "RLP, TLP and RLP·TLP over iterations",
        {"data": traces, "layout": layout},
        _in_words(decode, spans, alpha),
        thinned(decode[columns], "index"),
        "The strip below the lines says where FC kernels ran. "
        + (f"FC runs on the processing units while RLP·TLP > α = {alpha:g}." if alpha is not None else ""),
        wide=True,
        height=400,
    )


def placement_spans(decode: pd.DataFrame) -> pd.DataFrame:
    """Return runs of iterations with the same FC device: ``device``, ``first``, ``count``.

    Where there are too many to draw, equal spans take the device that most of their iterations ran on.
    """
    device = decode["fc_device"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], device[1:] != device[:-1]]))
    if len(starts) > _MOST_SPANS:
        starts = np.unique(np.linspace(0, len(device), _MOST_SPANS, endpoint=False).astype(int))
    ends = np.append(starts[1:], len(device))
    names = [pd.Series(device[a:b]).mode().iloc[0] for a, b in zip(starts, ends, strict=True)]
    return pd.DataFrame({"device": names, "first": decode["index"].to_numpy()[starts], "count": ends - starts})


def _line(decode: pd.DataFrame, name: str, column: str, colour: str, dash: str) -> dict[str, Any]:
    x, y = decimate(decode["index"], decode[column])
    line = {"color": colour, "dash": dash, "width": 2, "shape": "hv"}
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line, "hovertemplate": f"{name} %{{y:.4~g}}, iteration %{{x}}<extra></extra>"}  # fmt: skip


def _strip(device: str, spans: pd.DataFrame, colours: dict[str, str]) -> dict[str, Any]:
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


def _powers_of_two(top: float) -> dict[str, Any]:
    exponents = range(int(np.ceil(np.log2(max(2.0, top)))) + 1)
    every = max(1, len(exponents) // 8)
    return {"tickvals": [2**exponent for exponent in exponents][::every]}


def _in_words(decode: pd.DataFrame, spans: pd.DataFrame, alpha: float | None) -> str:
    first, last = decode.iloc[0], decode.iloc[-1]
    text = (
        f"Over {len(decode):,} iterations RLP goes from {first['rlp']} to {last['rlp']} and RLP·TLP from {first['rows']} to "
        f"{last['rows']}, with at most {decode['rows'].max()}."
    )
    where = [f"{row.device} from iteration {row.first}" for row in spans.head(_SPANS_TOLD).itertuples()]
    more = f", and {len(spans) - _SPANS_TOLD} more changes" if len(spans) > _SPANS_TOLD else ""
    threshold = f" The threshold α is {alpha:g}." if alpha is not None else ""
    return f"{text} FC runs on {', on '.join(where)}{more}.{threshold}"
