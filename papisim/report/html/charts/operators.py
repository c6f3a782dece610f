"""The device of each operator over time, beside the parallelism and the intensities that it is placed by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from papisim.arrays import Floats
from papisim.report.html.charts.axes import axis, lanes_below
from papisim.report.html.charts.series import decimate, thinned
from papisim.report.html.page import Chart, Plotly

#: names of devices, one per step
Names = npt.NDArray[np.object_]
#: spans of one device that are drawn exactly; where an operator moves more often, equal spans of time have the device of most of it
_MOST_SPANS = 400
_BINS = 240
_NAMES = {
    "fc": "FC",
    "attention": "attention",
    "experts": "experts",
    "draft_fc": "draft FC",
    "draft_attention": "draft att.",
}
#: share of the height that the lanes have for each operator, and at most
_LANE, _LANES = 0.09, 0.45


def chart(
    title: str,
    steps: pd.DataFrame,
    operators: Sequence[Mapping[str, object]],
    per_tlp: float | None,
    colours: dict[str, str],
) -> Chart | None:
    """Draw RLP, TLP and intensities over time, and below a lane per operator in the colour of its device; None where none can move.

    Args:
        title: title of the chart.
        steps: the frame of steps, those of one server.
        operators: operators as the summary has them.
        per_tlp: intensity of attention over TLP; None without attention.
        colours: colours by device.
    """
    decode = steps[steps["kind"] != "prefill"]
    if decode.empty or not any(len(_devices(each)) > 1 for each in operators):
        return None
    names = [str(each["operator"]) for each in operators]
    lanes = {name: spans(decode, f"placed_{name}") for name in names}
    traces = _lines(decode[decode["kind"] == "decode"], per_tlp)
    devices = list(dict.fromkeys(device for lane in lanes.values() for device in lane["device"]))
    traces += [_on(device, lanes, colours) for device in devices]
    share = min(_LANES, _LANE * len(names))
    layout = {
        "xaxis": axis("time", "s", anchor="y2"),
        "yaxis": axis("requests, token-rows", type="log", domain=[share + 0.06, 1]),
        **lanes_below(
            domain=[0, share], categoryorder="array", categoryarray=[_NAMES[name] for name in reversed(names)]
        ),
    }
    columns = ["start_s", "rlp", "tlp", "rows", *(f"placed_{name}" for name in names)]
    return Chart(
        title,
        {"data": traces, "layout": layout},
        " ".join(_in_words(each) for each in operators),
        _table(decode[columns]),
        _note(lanes),
        wide=True,
        height=300 + 30 * len(names),
    )


def _devices(operator: Mapping[str, object]) -> list[str]:
    candidates = operator["candidates"]
    assert isinstance(candidates, list), "of an operator of the summary"
    return candidates


def spans(decode: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the spans of time that an operator was on one device: ``device``, ``from_s``, ``time_s``.

    Steps without the operator, and pauses, are in no span. Of an operator that moves more than :data:`_MOST_SPANS` times, each of
    :data:`_BINS` equal spans has the device of most of its steps' time.
    """
    there = decode[decode[column].notna()]
    start_s, device = there["start_s"].to_numpy(), there[column].to_numpy()
    end_s = start_s + there["time_s"].to_numpy()
    exact = _merged(start_s, end_s, device)
    return exact if len(exact) <= _MOST_SPANS else _most(start_s, end_s, device)


def _merged(start_s: Floats, end_s: Floats, device: Names) -> pd.DataFrame:
    """Return one span for steps that follow one another on one device."""
    apart = start_s[1:] > end_s[:-1] * (1 + 1e-9)
    first = np.flatnonzero(np.concatenate([[True], apart | (device[1:] != device[:-1])])[: len(device)])
    last = np.append(first[1:] - 1, len(device) - 1)[: len(first)]
    return pd.DataFrame({"device": device[first], "from_s": start_s[first], "time_s": end_s[last] - start_s[first]})


def _most(start_s: Floats, end_s: Floats, device: Names) -> pd.DataFrame:
    """Return equal spans, each with the device that has most of the time of the steps that begin in it."""
    edges = np.linspace(start_s[0], end_s.max(), _BINS + 1)
    bins = np.clip(np.searchsorted(edges, start_s, side="right") - 1, 0, _BINS - 1)
    time_s = pd.Series(end_s - start_s).groupby([bins, device]).sum().unstack().fillna(0.0)
    at = time_s.index.to_numpy()
    return _merged(edges[at], edges[at + 1], time_s.idxmax(axis=1).to_numpy().astype(object))


def _lines(alone: pd.DataFrame, per_tlp: float | None) -> list[Plotly]:
    """Return RLP, TLP and intensities of iterations without prompts, whose rows would hide those of the requests that decode."""
    lines = [
        _line(alone, "RLP", alone["rlp"], "$c4", "dash"),
        _line(alone, "TLP", alone["tlp"], "$c5", "dot"),
        _line(alone, "RLP·TLP, intensity of FC", alone["rows"], "$c3", "solid"),
    ]
    if per_tlp is not None:
        lines.append(_line(alone, "intensity of attention", alone["tlp"] * per_tlp, "$c6", "longdash"))
    return lines


def _line(decode: pd.DataFrame, name: str, values: pd.Series, colour: str, dash: str) -> Plotly:
    x, y = decimate(decode["start_s"], values)
    line = {"color": colour, "dash": dash, "width": 2, "shape": "hv"}
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "line": line, "hovertemplate": f"{name} %{{y:.4~g}} at %{{x:.4~s}}s<extra></extra>"}  # fmt: skip


def _on(device: str, lanes: Mapping[str, pd.DataFrame], colours: dict[str, str]) -> Plotly:
    """Return the spans of all operators on a device."""
    own = [(_NAMES[name], *row) for name, lane in lanes.items() for row in _rows(lane[lane["device"] == device])]
    return {
        "type": "bar",
        "orientation": "h",
        "name": f"on {device}" if device != "mixed" else device,
        "y": [name for name, _, _ in own],
        "base": [from_s for _, from_s, _ in own],
        "x": [time_s for _, _, time_s in own],
        "width": 0.7,
        "yaxis": "y2",
        "marker": {"color": colours.get(device, "$muted"), "line": {"width": 0}},
        "hovertemplate": f"%{{y}} on {device} from %{{base:.4~s}}s<extra></extra>",
    }


def _rows(lane: pd.DataFrame) -> list[tuple[float, float]]:
    return list(zip(lane["from_s"].tolist(), lane["time_s"].tolist(), strict=True))


def _in_words(operator: Mapping[str, object]) -> str:
    """Return where an operator ran, and how often it moved, as a sentence."""
    on, switches = operator["on"], operator["n_switches"]
    assert isinstance(on, list), "of an operator of the summary"
    shares = [f"{row['device']} for {row['step_time_ratio'] or 0:.1%}" for row in on if row["iteration_ratio"]]
    name = _NAMES[str(operator["operator"])]
    moves = "never moves" if not switches else "moves once" if switches == 1 else f"moves {switches:,} times"
    return f"{name[0].upper()}{name[1:]} is on {', on '.join(shares)} of the decoding time and {moves}."


def _note(lanes: Mapping[str, pd.DataFrame]) -> str:
    binned = any(len(lane) > 1 and np.ptp(lane["time_s"]) == 0 for lane in lanes.values())
    note = "Each lane below is an operator, in the colour of the device that runs it; mixed where several did in one iteration."
    return f"{note} Of operators that move often, each span has the device of most of its time." if binned else note


def _table(decode: pd.DataFrame) -> pd.DataFrame:
    """Return the steps, or means over spans of steps and the device of most of each."""
    few = thinned(decode, "start_s")
    if len(few) == len(decode):
        return few
    span = np.arange(len(decode)) * len(few) // len(decode)
    placed = [column for column in decode if str(column).startswith("placed_")]
    return few.join(decode[placed].groupby(span).agg(_mode))


def _mode(devices: pd.Series) -> object:
    """Return the most frequent device; None where the operator never ran."""
    return devices.mode().iloc[0] if devices.notna().any() else None
