"""A run as a timeline in the Chrome trace format, which Perfetto and Chrome's tracing page open.

Devices and links are processes, kernels and messages slices. The server is a process of its own, with a slice per step,
counters (RLP, TLP, RLP·TLP, KV cache, power) and an instant wherever an operator moves to another device. Times are in microseconds, the
format's unit; the events of a track are in order.

The file is written during the run. A step of 80 layers has 1,300 kernels, so only steps inside a window are laid out kernel by
kernel; the others, if no window is given, have one slice per device and category.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from papisim import __version__, foreign, units
from papisim.config.experiment import Experiment
from papisim.errors import InputError
from papisim.plan.phase import Phase, Work
from papisim.policies.placement.base import Operator
from papisim.pricing.kernels import describe, moved_bytes
from papisim.record.steps import DECODING, StepRow
from papisim.results.store import open_file

#: an event of the format, or the facts in one
Event = dict[str, object]

_US_PER_S = 1e6
#: decimals of a microsecond that are written: a tenth of a nanosecond
_DECIMALS = 4
_EXPECTED = "expected a window such as 0.1s..0.2s or iterations such as 100..120"


@dataclass(frozen=True)
class Window:
    """The steps to write: those that begin in a span of time, or decoding iterations; the end is excluded.

    Attributes:
        first: second or iteration.
        end: second or iteration.
        in_time: whether both are seconds.
    """

    first: float
    end: float
    in_time: bool

    def has(self, start_s: float, iteration: int) -> bool:
        """Return whether a step is in the window.

        Args:
            start_s: start of the step.
            iteration: number of the step's decoding iteration, or of the next one.
        """
        return self.first <= (start_s if self.in_time else iteration) < self.end


#: the steps that are laid out kernel by kernel if no window is given
FIRST_STEPS = Window(0, 8, in_time=False)


def parse_window(text: str) -> Window:
    """Read a window: ``0.1s..0.2s``, ``500us..2ms``, or iterations ``100..120``.

    Raises:
        InputError: the text is neither.
    """
    first, dots, end = (part.strip() for part in text.partition(".."))
    if not dots:
        raise InputError(f"found '{text}', {_EXPECTED}", field="--timeline-window")
    try:
        window = (
            Window(foreign.whole(first), foreign.whole(end), in_time=False)
            if first.isdecimal() and end.isdecimal()
            else Window(units.parse(first, "s"), units.parse(end, "s"), in_time=True)
        )
    except InputError as error:
        raise InputError(f"{error.message}; {_EXPECTED}", field="--timeline-window") from None
    except ValueError as error:
        raise InputError(f"found '{text}', {error}; {_EXPECTED}", field="--timeline-window") from None
    if not 0 <= window.first < window.end:
        raise InputError(f"found '{text}', which holds nothing; {_EXPECTED}", field="--timeline-window")
    return window


@contextmanager
def timeline(
    experiment: Experiment, path: Path, window: Window | None = None, *, force: bool = False
) -> Iterator[Timeline]:
    """Write the timeline of a run to a file, which appears complete when the block ends or not at all.

    Args:
        experiment: the experiment; its run must get the timeline as a probe.
        path: path of the file.
        window: steps to write; if None, all, of which the first are laid out kernel by kernel.
        force: whether to replace the file.

    Raises:
        InputError: the file may not be replaced or cannot be made.
    """
    with open_file(path, force=force) as file:
        result = Timeline(experiment, file, window)
        yield result
        result.close()


class Timeline:
    """A probe that writes the events of a run.

    Attributes:
        n_events: number of written events.
    """

    def __init__(self, experiment: Experiment, file: TextIO, window: Window | None) -> None:
        self._file, self._window = file, window
        spec, parts = experiment.system.spec, experiment.system.parts
        self._titles = {
            name: f"{name} ({group.count} × {parts[name].description})"
            for name, group in (spec.devices | spec.links).items()
        }
        self._pids: dict[str, int] = {}
        self._tids: dict[tuple[str, str], int] = {}
        self._pending: dict[str, list[Event]] = defaultdict(list)
        self._wanted: dict[str, bool] = {}
        self._placed: dict[str, dict[Operator, str]] = defaultdict(dict)
        self._end_s: dict[str, float] = {}
        self.n_events = 0
        about = {"papisim": __version__, "machine": experiment.system.name, "trace": experiment.trace.name, "engine": experiment.engine.name, "workload": experiment.workload_name}  # fmt: skip
        file.write(f'{{"displayTimeUnit":"ms","otherData":{json.dumps(about)},"traceEvents":[')

    def layers(self, server: str, start_s: float, iteration: int) -> bool:
        """Ask for every layer of the steps in the window."""
        self._track(_server(server), server)
        inside = (self._window or FIRST_STEPS).has(start_s, iteration)
        self._wanted[server] = inside or self._window is None
        return inside

    def phase(self, server: str, start_s: float, step: StepRow, phase: Phase) -> None:
        """Keep a phase until its step is complete."""
        del step
        if self._wanted[server]:
            name, facts = _describe(phase)
            track, time_s = self._track(phase.resource, server), phase.total_s
            event = _slice(name, str(phase.category), track, facts, start_s=start_s, time_s=time_s)
            self._pending[server].append(event)

    def step(self, server: str, step: StepRow) -> None:
        """Write a step: its slice, the counters and its phases."""
        moved = [*self._moved(server, step)] if step.kind in DECODING else []
        if not self._wanted[server]:
            return
        track = self._track(_server(server), server)
        for move in moved:
            self._write(_instant(move, step, track))
        self._write(_step_slice(step, track))
        self._count(server, step.start_s, self._counters(step))
        for event in self._pending.pop(server, []):
            self._write(event)
        self._end_s[server] = step.start_s + step.time_s

    def _moved(self, server: str, step: StepRow) -> Iterator[str]:
        """Yield the name of each move of an operator since the iteration of the server before that had the operator."""
        placed = self._placed[server]
        for operator, device in step.placed.items():
            before = placed.get(operator, device)
            placed[operator] = device
            if before != device:
                yield f"{_OPERATORS.get(operator, operator.value)}: {before} → {device}"

    def close(self) -> None:
        """Set the counters to zero and end the file."""
        for server, end_s in self._end_s.items():
            self._count(server, end_s, dict.fromkeys(_COUNTERS, 0.0))
        self._file.write("\n]}\n")

    def _counters(self, step: StepRow) -> dict[str, float]:
        power_w = step.energy.total_j / step.time_s if step.time_s else 0.0
        return dict(
            zip(
                _COUNTERS,
                (step.rlp, step.tlp, step.rows, step.kv_bytes, power_w),
                strict=True,
            )
        )

    def _count(self, server: str, at_s: float, values: dict[str, float]) -> None:
        pid, _ = self._track(_server(server), server)
        for name, value in values.items():
            self._write({"name": name, "ph": "C", "ts": _us(at_s), "pid": pid, "args": {_COUNTERS[name]: value}})

    def _track(self, resource: str, server: str) -> tuple[int, int]:
        """Return the process of a resource and its thread for a server; write the names of new ones."""
        pid = self._pids.get(resource)
        if pid is None:
            pid = self._pids[resource] = len(self._pids) + 1
            order = list(self._titles)
            self._introduce("process_name", {"name": self._titles.get(resource, resource)}, pid)
            self._introduce(
                "process_sort_index", {"sort_index": order.index(resource) + 1 if resource in order else 0}, pid
            )
        tid = self._tids.get((resource, server))
        if tid is None:
            tid = self._tids[resource, server] = len(self._tids) + 1
            name = "steps" if resource == _server(server) else f"work of {server}"
            self._introduce("thread_name", {"name": name}, pid, tid)
        return pid, tid

    def _introduce(self, what: str, facts: Event, pid: int, tid: int = 0) -> None:
        self._write({"name": what, "ph": "M", "pid": pid, "tid": tid, "args": facts})

    def _write(self, event: Event) -> None:
        self._file.write(",\n" if self.n_events else "\n")
        self._file.write(json.dumps(event, separators=(",", ":"), ensure_ascii=False))
        self.n_events += 1


#: counters of the server → unit of each
_COUNTERS = {"RLP": "requests", "TLP": "rows per request", "RLP·TLP": "rows", "KV cache": "bytes", "power": "W"}


#: operators whose name in the timeline is not their value
_OPERATORS = {Operator.FC: "FC"}


def _server(name: str) -> str:
    return f"server {name}"


def _us(seconds: float) -> float:
    return round(seconds * _US_PER_S, _DECIMALS)


def _slice(name: str, category: str, track: tuple[int, int], facts: Event, *, start_s: float, time_s: float) -> Event:
    start, end = _us(start_s), _us(start_s + time_s)
    duration = max(0.0, round(end - start, _DECIMALS))  # so that neighbours touch and never overlap
    return {"name": name, "cat": category, "ph": "X", "ts": start, "dur": duration, "pid": track[0], "tid": track[1], "args": facts}  # fmt: skip


def _step_slice(step: StepRow, track: tuple[int, int]) -> Event:
    name = f"{step.kind} {step.index}"
    return _slice(name, str(step.kind), track, _facts(step), start_s=step.start_s, time_s=step.time_s)


def _instant(name: str, step: StepRow, track: tuple[int, int]) -> Event:
    facts = {"rlp": step.rlp, "rows": step.rows}
    return {"name": name, "cat": "placement", "ph": "i", "s": "g", "ts": _us(step.start_s), "pid": track[0], "tid": track[1], "args": facts}  # fmt: skip


def _facts(step: StepRow) -> Event:
    return {
        "rlp": step.rlp, "rows": step.rows, "kv_tokens": step.kv_tokens, "drafted": step.drafted, "accepted": step.accepted,
        "tokens": step.tokens, "fc_device": step.fc_device, "energy_j": step.energy.total_j,
        **{f"placed_{operator.value}": device for operator, device in step.placed.items()},
    }  # fmt: skip


def _describe(phase: Phase) -> tuple[str, Event]:
    """Return a phase's name and its facts."""
    facts: Event = {"energy_j": phase.energy.total_j * phase.repeats}
    if len(phase.work) == 1:
        (work,) = phase.work
        return _kernel(work, phase.repeats, facts)
    if phase.work:
        names = Counter[str]()
        for work in phase.work:
            names[describe(work.item)[0]] += work.times * phase.repeats
        facts["kernels"] = ", ".join(f"{count} {name}" for name, count in names.items())
        facts["moved_bytes"] = sum(moved_bytes(work.item) * work.times for work in phase.work) * phase.repeats
        facts["flop"] = phase.flop * phase.repeats
    return str(phase.category), facts


def _kernel(work: Work, repeats: int, facts: Event) -> tuple[str, Event]:
    name, shape = describe(work.item)
    times = work.times * repeats
    facts |= {"shape": shape, "moved_bytes": moved_bytes(work.item), "flop": getattr(work.item, "flop", 0)}
    facts |= {"bound": work.bound, "units": work.units, "times": times}
    return name, facts
