"""Read a Kineto trace: the launches on the GPU, their duration, and the operators of the host that launched them.

A trace is the Chrome-trace JSON (plain or gzip) that ``torch.profiler`` exports; with ``record_shapes=True`` operators
carry the shapes and element types of their operands. Reading needs no torch, so that traces from other machines can be
imported. The operators of a launch enclose the runtime call with the same correlation id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import Final, TypeGuard

from papisim import foreign
from papisim.errors import InputError

#: categories of events: work on the GPU, calls that launch it, and operators that enclose those calls
_ON_GPU: Final = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
_LAUNCHING: Final = frozenset({"cuda_runtime", "cuda_driver", "Runtime", "Driver"})
_ENCLOSING: Final = frozenset({"cpu_op", "Operator"})
_RELEVANT: Final = _ON_GPU | _LAUNCHING | _ENCLOSING
_LARGEST_SIZE: Final = 2**53  # of a dimension; whole numbers beyond are not exact in every reader of JSON
_RECORD_ON_GPU: Final = "record with ProfilerActivity.CUDA"
_S_PER_TICK: Final = 1e-6  # Chrome traces count in microseconds


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor operand: torch's name of the element type (``c10::Half``) and the shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of the host that encloses a launch.

    Attributes:
        name: such as ``aten::mm``.
        operands: its tensor operands in order, those of a list of tensors one by one; empty without recorded shapes.
    """

    name: str
    operands: tuple[Operand, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuLaunch:
    """A kernel, copy or fill that ran on the GPU.

    Attributes:
        kernel: the name of the kernel.
        start_s: start, on the trace's own clock.
        time_s: duration.
        operators: operators that enclose the launch, innermost first; empty for replays of a CUDA graph.
    """

    kernel: str
    start_s: float
    time_s: float
    operators: tuple[Operator, ...] = ()

    @property
    def operator(self) -> Operator | None:
        """The innermost operator."""
        return self.operators[0] if self.operators else None


@dataclass(frozen=True)
class KinetoTrace:
    """The launches of a trace and the GPU on which they ran.

    Attributes:
        launches: in the order in which they ran.
        gpu: name of the GPU; None where the trace has none.
        has_shapes: whether operators carry the shapes of their operands.
        n_gpus: number of GPUs with launches in the trace.
    """

    launches: tuple[GpuLaunch, ...]
    gpu: str | None
    has_shapes: bool
    n_gpus: int = 1

    @property
    def time_s(self) -> float:
        """Time of all launches, overlaps counted twice."""
        return sum(launch.time_s for launch in self.launches)


def read_kineto(path: Path | str) -> KinetoTrace:
    """Read a trace.

    Raises:
        InputError: the file cannot be read, is no Chrome trace, has a field of a wrong type or value, repeats an event, or has
            no event on a GPU.
    """
    file = str(path)
    try:
        document = foreign.read_json(foreign.read_text(Path(path), "profiler's trace"))
    except foreign.JSON_FAULTS as error:
        raise InputError(foreign.json_fault(error), file=file) from None
    fields = document if isinstance(document, dict) else {"traceEvents": document}
    found = fields.get("traceEvents")
    if not isinstance(found, list):
        raise InputError("has no list 'traceEvents', expected a Chrome trace of torch.profiler", file=file)
    events = _events(found, file)
    launches = _launches(events)
    if not launches:
        raise InputError(f"nothing in it ran on a GPU; {_why_nothing(found)}", file=file)
    if not sum(launch.time_s for launch in launches):
        raise InputError("everything in it that ran on a GPU took 0 s", file=file)
    _refuse_repeated(events, file)
    return KinetoTrace(
        tuple(launches),
        _gpu(fields.get("deviceProperties"), file),
        has_shapes=any(event.has_shapes for event in events),
        n_gpus=len({event.thread[0] for event in events if event.category in _ON_GPU}),
    )


@dataclass(frozen=True, slots=True)
class _Event:
    """A complete event of a category that matters; times in ticks."""

    index: int
    category: str
    name: str
    start: float
    duration: float
    thread: tuple[str, str]
    correlation: int | str | None
    operands: tuple[Operand, ...]
    has_shapes: bool

    @property
    def end(self) -> float:
        return self.start + self.duration


def _events(found: list[object], file: str) -> list[_Event]:
    """Return the complete events that matter, each field checked."""
    events = []
    for index, event in enumerate(found):
        if _is(event, "X", _RELEVANT):
            events.append(_event(event, index, file))
    return events


def _is(event: object, phase: str, categories: frozenset[str]) -> TypeGuard[dict[str, object]]:
    if not isinstance(event, dict) or event.get("ph") != phase:
        return False
    category = event.get("cat")
    return isinstance(category, str) and category in categories


def _event(event: dict[str, object], index: int, file: str) -> _Event:
    on_gpu = event["cat"] in _ON_GPU
    given = event.get("args")
    args: dict[str, object] = given if isinstance(given, dict) else {}
    place, value = "name", event.get("name", "")
    try:
        name = foreign.text(value)
        place, value = "ts", event.get("ts")
        start = foreign.number(value)
        place, value = "dur", event.get("dur", None if on_gpu else 0)
        duration = foreign.number(value, 0)
        place, value = "args.correlation", args.get("correlation")
        if value is not None and not isinstance(value, (int, str)):
            raise ValueError("expected a number")
        correlation = value
        place, value = "args.Input Dims", args.get("Input Dims")
        operands = _operands(value, args.get("Input type"))
    except ValueError as error:
        raise InputError(
            f"found {foreign.found(value)}, {error}", file=file, field=f"traceEvents[{index}].{place}"
        ) from None
    thread = str(event.get("pid")), str(event.get("tid"))
    has_shapes = event["cat"] == "cpu_op" and "Input Dims" in args
    return _Event(index, str(event["cat"]), name, start, duration, thread, correlation, operands, has_shapes)


def _operands(dims: object, types: object) -> tuple[Operand, ...]:
    """Return the tensors among an operator's arguments, those of a list of tensors one by one.

    Raises:
        ValueError: shapes or types are not as torch writes them.
    """
    dims, types = dims or [], types or []
    if not isinstance(dims, list) or not isinstance(types, list):
        raise ValueError("expected a list with a shape for each operand, and one of types")
    operands: list[Operand] = []
    for shape, dtype in zip(dims, types, strict=False):
        if not isinstance(dtype, str):
            raise ValueError(f"expected the name of a type for each operand, found {foreign.found(dtype)}")
        if isinstance(shape, list) and dtype and not dtype.startswith("Scalar"):
            several = shape if shape and isinstance(shape[0], list) else [shape]
            operands += [Operand(dtype, _shape(inner)) for inner in several]
    return tuple(operands)


def _shape(found: object) -> tuple[int, ...]:
    if not isinstance(found, list):
        raise ValueError(f"expected a list of sizes, found {foreign.found(found)}")
    return tuple(foreign.whole(size, most=_LARGEST_SIZE) for size in found)


def _gpu(found: object, file: str) -> str | None:
    """Return the name of the first GPU that a trace describes, if it describes any."""
    if not found:
        return None
    first = found[0] if isinstance(found, list) else None
    name = first.get("name") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(name, (str, NoneType)):
        raise InputError(
            f"found {foreign.found(found)}, expected a list of GPUs, each with a name",
            file=file,
            field="deviceProperties",
        )
    return None if name is None else foreign.text(name)


def _why_nothing(found: list[object]) -> str:
    pairs = any(_is(event, "B", _ON_GPU) for event in found)
    return "its kernels are pairs of begin and end, expected complete events" if pairs else _RECORD_ON_GPU


def _refuse_repeated(events: list[_Event], file: str) -> None:
    """Refuse a file that was put together from others with events in common: their time would count twice."""
    seen: dict[tuple[object, ...], int] = {}
    for event in events:
        if event.category in _ON_GPU:
            key = (event.name, event.start, event.duration, event.thread, event.correlation)
            if key in seen:
                message = f"repeats traceEvents[{seen[key]}]; import the trace of one rank"
                raise InputError(message, file=file, field=f"traceEvents[{event.index}]")
            seen[key] = event.index


def _launches(events: list[_Event]) -> list[GpuLaunch]:
    enclosing = _enclosing_operators(events)
    on_gpu = sorted((event for event in events if event.category in _ON_GPU), key=lambda event: event.start)
    return [
        GpuLaunch(
            kernel=event.name,
            start_s=event.start * _S_PER_TICK,
            time_s=event.duration * _S_PER_TICK,
            operators=enclosing.get(event.correlation, ()),
        )
        for event in on_gpu
    ]


def _enclosing_operators(events: Iterable[_Event]) -> dict[int | str | None, tuple[Operator, ...]]:
    """Map correlation ids to the operators that enclose their runtime call, innermost first."""
    relevant = [event for event in events if event.category not in _ON_GPU]
    found: dict[int | str | None, tuple[Operator, ...]] = {}
    in_order = sorted(relevant, key=lambda event: (event.thread, event.start, -event.duration))
    for _, of_thread in groupby(in_order, key=lambda event: event.thread):
        for event, stack in _nested(of_thread):
            if event.category in _LAUNCHING and event.correlation is not None:
                found[event.correlation] = tuple(Operator(outer.name, outer.operands) for outer in reversed(stack))
    return found


def _nested(events: Iterable[_Event]) -> Iterator[tuple[_Event, list[_Event]]]:
    """Yield each event of a thread with those that enclose it, outermost first."""
    stack: list[_Event] = []
    for event in events:
        while stack and stack[-1].end <= event.start:
            stack.pop()
        yield event, stack
        if event.category in _ENCLOSING:
            stack.append(event)
