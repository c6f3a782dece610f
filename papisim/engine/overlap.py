"""Parts of one step that run at the same time: streams that take turns on the devices and links they share.

``prompts``
    decoding and the prompts beside it are two streams, each with FC kernels of its own: while the caches' devices attend,
    the processing units compute prompts. The weights are read once for each.
``sub_batches``
    the batch is split into two halves of like caches which interleave: while one attends on PIM, the other runs its FC
    kernels (NeuPIMs, Heo et al., ASPLOS 2024). Prompts are a stream of their own. The weights are read once for each.
``heads``
    from QKV to projection a layer is cut into pieces by heads that follow one another from device to device: attention of
    one piece runs while the next one's Q, K and V are computed (AttAcc, Park et al., ASPLOS 2024, head-level pipelining).

The makespan of the streams is simulated: every device and link serves one phase at a time, first come first served. Streams with several kernels in flight cannot be folded by multiplying a layer; where
layers are folded, six and twelve layers are simulated and the rest is extrapolated. Without folding, and where layers differ,
all are simulated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

import numpy as np

from papisim.arrays import Ints
from papisim.config.experiment import OverlapSpec
from papisim.engine.batch import Batch
from papisim.errors import InputError, NotModelled
from papisim.ops.kernel import Attention, Elementwise, FcRole, Kernel, KvAppend, Linear
from papisim.ops.lower import KvLengths, Prompts, StepShape, decode_lengths, decode_shape
from papisim.ops.trace import KernelTrace
from papisim.plan.layout import StepLayout, StepPart
from papisim.plan.machine import Machine
from papisim.plan.phase import Message, Phase, TimedPhase
from papisim.plan.planner import Planner, StepWork
from papisim.plan.sharing import refuse_shares

#: layers simulated where layers are folded; twice that number is simulated, too
_LAYERS = 6

#: phases of attention by the identity of stream and kernel, and device: those of equal layers are priced once per step
_Attention = dict[tuple[int, int, str], list[Phase]]
#: a phase, or several chains of phases at the same time
Item = Phase | tuple[Sequence[Phase], ...]


class Stream(NamedTuple):
    """A part of a step that runs beside others."""

    shape: StepShape
    decode: KvLengths | None
    prompts: KvLengths | None


class OverlappedWork(NamedTuple):
    """A step whose streams overlap.

    Attributes:
        work: phases of all streams.
        time_s: duration of the step.
    """

    work: StepWork
    time_s: float


class Overlap:
    """Lays out decoding iterations whose parts run at the same time.

    Args:
        spec: the parts that overlap.
        planner: turns each part into phases.
        machine: the hardware.
        trace: the model.

    Raises:
        NotModelled: the machine is a pipeline, or layers with states are to be cut into pieces by heads.
        InputError: the number of pieces does not divide the KV heads.
    """

    def __init__(self, spec: OverlapSpec, planner: Planner, machine: Machine, trace: KernelTrace) -> None:
        if machine.stages > 1 and spec.kind != "off":
            raise NotModelled(f"overlap {spec.kind} in a pipeline of stages is not modelled")
        if spec.kind == "heads":
            refuse_shares(machine, "overlap by heads")
            _check_heads(trace, spec.pieces)
        self._spec, self._planner, self._machine, self._n_layers = spec, planner, machine, trace.model.n_layers
        self._layers_differ = sum(bool(block.layer_indices) for block in trace.blocks) > 1

    @property
    def is_on(self) -> bool:
        """Whether anything overlaps."""
        return self._spec.kind != "off"

    @property
    def of_decoding(self) -> bool:
        """Whether a decoding iteration without prompts overlaps with itself."""
        return self._spec.kind in ("sub_batches", "heads")

    def step(self, batch: Batch, tlp: int, prompts: Prompts | None, *, fold: bool) -> OverlappedWork:
        """Lay out an iteration with ``tlp`` tokens in flight per request, and prompts beside it."""
        streams = self._streams(batch, tlp, prompts)
        parts, phases = list[StepPart](), list[Phase]()
        for stream in streams:
            work = self._planner.work(*stream, fold=fold)
            parts += work.layout.parts
            phases += work.phases
        return OverlappedWork(StepWork(StepLayout(parts), phases), self._time_s(streams, fold=fold))

    def _streams(self, batch: Batch, tlp: int, prompts: Prompts | None) -> list[Stream]:
        if self._spec.kind == "heads":
            whole = _decoding(batch.cached, tlp)
            if prompts is None:
                return [whole]
            return [Stream(whole.shape.with_prompts(prompts), whole.decode, prompts.lengths)]
        order = np.argsort(batch.cached, kind="stable")
        halves = [order[::2], order[1::2]] if self._spec.kind == "sub_batches" else [order]
        streams = [_decoding(batch.cached[half], tlp) for half in halves if len(half)]
        return streams if prompts is None else [*streams, Stream(prompts.shape, None, prompts.lengths)]

    def _time_s(self, streams: Sequence[Stream], *, fold: bool) -> float:
        attention: _Attention = {}
        if not fold or self._layers_differ or self._n_layers <= 2 * _LAYERS:
            return self._simulated_s(streams, self._n_layers, attention)
        few, twice = (self._simulated_s(streams, layers, attention) for layers in (_LAYERS, 2 * _LAYERS))
        return few + (twice - few) / _LAYERS * (self._n_layers - _LAYERS)

    def _simulated_s(self, streams: Sequence[Stream], n_layers: int, attention: _Attention) -> float:
        unfolded = [self._unfolded(stream, n_layers, attention) for stream in streams]
        streams_of_items = [self._in_pieces(each) for each in unfolded] if self._spec.kind == "heads" else unfolded
        arbitration = self._machine.roles.arbitration
        return together_s(streams_of_items, frozenset() if arbitration is None else arbitration.exclusive)

    def _in_pieces(self, phases: Sequence[Phase]) -> list[Item]:
        """Cut the phases of each layer from QKV to projection into equal pieces that follow one another."""
        items: list[Item] = []
        chain: list[Phase] = []
        for phase in phases:
            if not chain and FcRole.QKV not in _roles(phase):
                items.append(phase)
                continue
            chain.append(self._piece(phase))
            if FcRole.PROJECTION in _roles(phase):
                items.append((chain,) * self._spec.pieces)
                chain = []
        return items

    def _piece(self, phase: Phase) -> Phase:
        """Return a phase for one piece of the heads: priced anew, since launches and latencies do not shrink."""
        pieces, (work,) = self._spec.pieces, phase.work
        match work.item:
            case Linear(role=FcRole.PROJECTION) as kernel:
                part: Kernel = replace(kernel, k=kernel.k // pieces)
            case Linear() as kernel:
                part = replace(kernel, n=kernel.n // pieces, heads=None)
            case Attention() as kernel:
                part = replace(kernel, n_heads=kernel.n_heads // pieces, n_kv_heads=kernel.n_kv_heads // pieces)
            case KvAppend() as kernel:
                heads = None if kernel.heads is None else (kernel.heads[0] // pieces, kernel.heads[1] // pieces)
                part = KvAppend(kernel.new_bytes // pieces, heads=heads)
            case Elementwise() as kernel:
                sizes = (kernel.flop // pieces, kernel.read_bytes // pieces, kernel.write_bytes // pieces)
                part = Elementwise(kernel.kernel_class, *sizes)
            case Message() as message:
                cost = self._machine.links[phase.resource].transfer(message.payload_bytes / pieces)
                return phase._replace(time_s=cost.time_s)
        return phase._replace(time_s=self._machine.price(phase.resource, part).time_s)

    def _unfolded(self, stream: Stream, n_layers: int, attention: _Attention) -> list[Phase]:
        shape = replace(stream.shape, layers=None if n_layers == self._n_layers else (0, n_layers))
        phases: list[Phase] = []
        for item in self._planner.layout(shape, stream.decode, fold=False).items:
            if isinstance(item, Phase):
                phases.append(item)
                continue
            key = (id(stream), id(item.kernel), item.device)
            if key not in attention:
                attention[key] = list(self._planner.attention(item, stream.decode, stream.prompts))
            phases += attention[key]
        return phases


def _check_heads(trace: KernelTrace, pieces: int) -> None:
    """Refuse models whose layers cannot be cut into equal pieces by heads."""
    for block in trace.blocks:
        if block.state_bytes:
            raise NotModelled(f"overlap by heads of layers with states ('{block.name}' of {trace.name})")
        for shape in block.attention:
            if shape.n_kv_heads % pieces:
                raise InputError(
                    f"overlap.pieces: found {pieces}, expected a divisor of the {shape.n_kv_heads} KV heads"
                )


def _decoding(cached: Ints, tlp: int) -> Stream:
    rlp = len(cached)
    lengths = decode_lengths(rlp, tlp, int(cached.sum()), int(cached.max()), cached)
    return Stream(decode_shape(rlp, rlp * tlp), lengths, None)


def _roles(phase: Phase) -> set[FcRole]:
    return {work.item.role for work in phase.work if isinstance(work.item, Linear)}


class _Chain:
    """Items that follow one another, and the chain that waits for the last of several chains at the same time."""

    __slots__ = ("_items", "n_within", "waiting")

    def __init__(self, items: Sequence[Item], waiting: _Chain | None = None) -> None:
        self._items, self.waiting, self.n_within = iter(items), waiting, 0

    def next(self) -> Item | None:
        """Return the next item; None at the end."""
        return next(self._items, None)


def together_s(streams: Sequence[Sequence[Item]], exclusive: frozenset[str] = frozenset()) -> float:
    """Return the makespan of the streams in seconds, when each device and link serves one phase at a time.

    Args:
        streams: the streams.
        exclusive: devices of which one works at a time, since they share a memory.
    """
    shared = "+".join(sorted(exclusive))
    free_s: dict[str, float] = {}
    order = count()
    asking = [(0.0, next(order), _Chain(items)) for items in streams]  # a heap already: equal times, in order
    now_s = 0.0
    while asking:
        now_s, _, chain = heappop(asking)
        item = chain.next()
        if isinstance(item, Phase):
            name = shared if item.resource in exclusive else item.resource
            free_s[name] = end_s = max(now_s, free_s.get(name, 0.0)) + item.total_s
            heappush(asking, (end_s, next(order), chain))
        elif item is not None:
            chain.n_within = len(item)
            for items in item:
                heappush(asking, (now_s, next(order), _Chain(items, chain)))
        elif (waiting := chain.waiting) is not None:
            waiting.n_within -= 1
            if not waiting.n_within:
                heappush(asking, (now_s, next(order), waiting))
    return now_s


class Beside(NamedTuple):
    """A stream with another beside it.

    Attributes:
        time_s: seconds until the stream ends.
        rest: what is left of the part of the other stream that is under way then; of its first phase, if that has begun, what is left.
        served: the phases of both that have begun, with seconds from the beginning.
        has_begun: whether the first phase of ``rest`` has begun.
    """

    time_s: float
    rest: tuple[Phase, ...]
    served: tuple[TimedPhase, ...] = ()
    has_begun: bool = False


def beside(
    stream: Sequence[Phase], begin: Callable[[], Sequence[Phase]], exclusive: frozenset[str] = frozenset()
) -> Beside:
    """Return the time of a stream beside another that begins one part after the other, until the first has ended.

    As in :func:`together_s`, each device and link serves one phase at a time, first come first served; the stream is before the other
    where both come at once.

    Args:
        stream: the stream.
        begin: returns the next part of the other stream when the one before has ended; empty when there is none.
        exclusive: devices of which one works at a time, since they share a memory.
    """
    free_s: dict[str, float] = {}
    shared = "+".join(sorted(exclusive))
    left: deque[Phase] = deque()
    last: Phase | None = None
    other_s, is_over = 0.0, False
    served = list[TimedPhase]()

    def serve(phase: Phase, asked_s: float) -> float:
        name = shared if phase.resource in exclusive else phase.resource
        begin_s = max(asked_s, free_s.get(name, 0.0))
        served.append(TimedPhase(begin_s, phase))
        end_s = free_s[name] = begin_s + phase.total_s
        return end_s

    def advance(until_s: float) -> None:
        nonlocal other_s, last, is_over
        while other_s < until_s and not is_over:
            if not left:
                left.extend(begin())
                is_over = not left
                continue
            last = left.popleft()
            other_s = serve(last, other_s)

    time_s = 0.0
    for phase in stream:
        advance(time_s)
        time_s = serve(phase, time_s)
    advance(time_s)
    has_begun = last is not None and other_s > time_s
    if last is not None and has_begun:
        left.appendleft(last._replace(time_s=other_s - time_s, repeats=1, work=()))
    return Beside(time_s, tuple(left), tuple(served), has_begun)
