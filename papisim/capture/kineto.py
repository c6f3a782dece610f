"""Read a Kineto trace: what ran on the GPU, for how long, and which operator of the host launched it.

A trace is the Chrome-trace JSON (plain or gzip) that ``torch.profiler`` exports; with ``record_shapes=True`` operators
carry the shapes and element types of their operands. Reading needs no torch, so that anyone's trace can be imported
anywhere. A launch finds its operators by correlation: the runtime call of the same correlation id stands inside them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from papisim.errors import InputError

#: categories of events: what runs on the GPU, what launches it, and which operators enclose that
_ON_GPU: Final = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
_LAUNCHING: Final = frozenset({"cuda_runtime", "cuda_driver", "Runtime", "Driver"})
_ENCLOSING: Final = frozenset({"cpu_op", "Operator"})
_GZIP_MAGIC: Final = b"\x1f\x8b"
_S_PER_TICK: Final = 1e-6  # Chrome traces count in microseconds

Event = dict[str, Any]


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
        start_s: when it began, on the trace's own clock.
        time_s: how long it ran.
        operators: what encloses its launch, innermost first; empty for replays of a CUDA graph.
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
    """What a trace says about the GPU.

    Attributes:
        launches: in the order in which they ran.
        gpu: name of the GPU, where the trace has it.
        has_shapes: whether operators carry the shapes of their operands.
    """

    launches: tuple[GpuLaunch, ...]
    gpu: str | None
    has_shapes: bool

    @property
    def time_s(self) -> float:
        """Time of all launches, overlaps counted twice."""
        return sum(launch.time_s for launch in self.launches)


def read_kineto(path: Path | str) -> KinetoTrace:
    """Read a trace.

    Raises:
        InputError: the file cannot be read, is no Chrome trace, or nothing in it ran on a GPU.
    """
    file = str(path)
    document = _load(Path(path))
    events = document.get("traceEvents") if isinstance(document, dict) else document
    if not isinstance(events, list):
        raise InputError("has no list 'traceEvents', expected a Chrome trace of torch.profiler", file=file)
    complete = [event for event in events if isinstance(event, dict) and event.get("ph") == "X"]
    launches = _launches(complete)
    if not launches:
        raise InputError("nothing in it ran on a GPU; record with ProfilerActivity.CUDA", file=file)
    gpus = document.get("deviceProperties") if isinstance(document, dict) else None
    has_shapes = any("Input Dims" in _args(event) for event in complete if event.get("cat") == "cpu_op")
    return KinetoTrace(tuple(launches), gpus[0].get("name") if gpus else None, has_shapes)


def _load(path: Path) -> Any:
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        return json.loads(content)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=str(path)) from None
    except (ValueError, EOFError, RecursionError) as error:
        raise InputError(f"is not JSON: {error}", file=str(path)) from None


def _launches(events: list[Event]) -> list[GpuLaunch]:
    enclosing = _enclosing_operators(events)
    on_gpu = sorted((event for event in events if event.get("cat") in _ON_GPU), key=_start)
    return [
        GpuLaunch(
            kernel=str(event.get("name", "")),
            start_s=_start(event) * _S_PER_TICK,
            time_s=float(event.get("dur", 0.0)) * _S_PER_TICK,
            operators=enclosing.get(_args(event).get("correlation"), ()),
        )
        for event in on_gpu
    ]


def _enclosing_operators(events: Iterable[Event]) -> dict[Any, tuple[Operator, ...]]:
    """Map correlation ids to the operators that enclose their runtime call, innermost first."""
    relevant = [event for event in events if event.get("cat") in _LAUNCHING or event.get("cat") in _ENCLOSING]
    found: dict[Any, tuple[Operator, ...]] = {}
    in_order = sorted(relevant, key=lambda event: (_thread(event), _start(event), -_duration(event)))
    for _, of_thread in groupby(in_order, key=_thread):
        for event, stack in _nested(of_thread):
            correlation = _args(event).get("correlation")
            if event.get("cat") in _LAUNCHING and correlation is not None:
                found[correlation] = tuple(_operator(outer) for outer in reversed(stack))
    return found


def _nested(events: Iterable[Event]) -> Iterator[tuple[Event, list[Event]]]:
    """Yield each event of a thread with those that enclose it, outermost first."""
    stack: list[Event] = []
    for event in events:
        while stack and _start(stack[-1]) + _duration(stack[-1]) <= _start(event):
            stack.pop()
        yield event, stack
        if event.get("cat") in _ENCLOSING:
            stack.append(event)


def _operator(event: Event) -> Operator:
    args = _args(event)
    dims, types = args.get("Input Dims") or (), args.get("Input type") or ()
    operands = tuple(
        operand for shape, dtype in zip(dims, types, strict=False) for operand in _operands(shape, dtype)
    )
    return Operator(str(event.get("name", "")), operands)


def _operands(shape: Any, dtype: str) -> Iterator[Operand]:
    """Yield the tensors of one argument: none for a number, one for a tensor, each of a list of tensors."""
    if not isinstance(shape, list) or not dtype or dtype.startswith("Scalar"):
        return
    if shape and isinstance(shape[0], list):
        yield from (Operand(dtype, tuple(inner)) for inner in shape)
    else:
        yield Operand(dtype, tuple(shape))


def _args(event: Event) -> Event:
    args = event.get("args")
    return args if isinstance(args, dict) else {}


def _start(event: Event) -> float:
    return float(event.get("ts", 0.0))


def _duration(event: Event) -> float:
    return float(event.get("dur", 0.0))


def _thread(event: Event) -> tuple[str, str]:
    return str(event.get("pid")), str(event.get("tid"))
