"""What one step of the model consists of on a machine: phases, each on one device or link.

A step computes every block of the trace, layer after layer. Its kernels follow one another, since each needs the last
one's result; what a kernel must fetch from or send to another device is a phase of its own on the link between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from papisim.engine.build import Machine
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import ROW_PARALLEL, FcRole, Kernel, KernelClass, Linear
from papisim.ops.lower import KvLengths, StepShape, lower, lower_attention
from papisim.ops.trace import Block, KernelTrace, TraceKernel
from papisim.policies.placement.base import PlacementPolicy, PlacementView
from papisim.workloads.router import tokens_per_expert


class Category(StrEnum):
    """How a step's time is reported (as the paper's Figure 12 splits it)."""

    FC = "fc"
    ATTENTION = "attention"
    COMMUNICATION = "communication"
    OTHER = "other"
    DRAFT = "draft"


class Message(NamedTuple):
    """A payload over a link, from one side to the other or, with several ranks, summed over them."""

    payload_bytes: float
    ranks: int = 1


class Work(NamedTuple):
    """What stands in a phase: a kernel or a message, so many times in a row.

    Attributes:
        item: what was priced.
        units: devices or links that share it.
        time_s: how long it takes once.
        bound: what limits it.
        times: how often it stands there.
    """

    item: Kernel | Message
    units: int
    time_s: float
    bound: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Phase:
    """One kernel on one device, or one message on one link, ``repeats`` times in a row.

    Attributes:
        resource: the device or link.
        category: how its time is reported.
        time_s: how long it takes once.
        energy: what it takes once.
        flop: what it computes.
        repeats: how often it follows itself.
        work: what was priced, for who wants to know why it takes so long; empty for what no device does. Where several
            kernels were added up, one entry each.
    """

    resource: str
    category: Category
    time_s: float
    energy: Energy
    flop: float = 0.0
    repeats: int = 1
    work: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class _AttentionSlot:
    """Where attention stands in a layer; its cost changes with every step, the rest of the layer's does not."""

    kernel: TraceKernel
    repeats: int = 1


class StepPlanner:
    """Turns steps into phases, remembering what does not depend on the KV caches' lengths.

    Args:
        trace: the model.
        machine: the hardware.
        placement: where FC kernels of decoding steps run.
        seed: the seed of the experts' router.
        fold: price identical layers once and multiply.
    """

    def __init__(
        self, trace: KernelTrace, machine: Machine, placement: PlacementPolicy, *, seed: int, fold: bool
    ) -> None:
        self._trace = trace
        self._machine = machine
        self._placement = placement
        self._seed = seed
        self._fold = fold
        self._memory: dict[tuple[StepShape, bool], tuple[Phase | _AttentionSlot, ...]] = {}

    def decode(self, shape: StepShape, lengths: KvLengths) -> list[Phase]:
        """Return the phases of a decoding step."""
        return self._fill(self._layout(shape, prefill=False), lengths, self._machine.roles.attention)

    def prefill(self, shape: StepShape, lengths: KvLengths) -> list[Phase]:
        """Return the phases of a step that computes prompts."""
        attention = self._machine.roles.prefill.attention
        return self._fill(self._layout(shape, prefill=True), lengths, attention)

    def place(self, kernel: Linear, rlp: int, rows: int) -> str:
        """Return the device on which the policy places an FC kernel of a decoding step."""
        machine = self._machine
        return self._placement.place(PlacementView(rlp, rows, kernel, tuple(machine.roles.fc), machine.price))

    def fc_time_s(self, shape: StepShape) -> float:
        """Return the seconds that the FC kernels of a decoding step take where the policy places them."""
        layout = self._layout(shape, prefill=False)
        phases = [item for item in layout if isinstance(item, Phase) and item.category is Category.FC]
        return sum(phase.time_s * phase.repeats for phase in phases)

    def _fill(self, layout: Iterable[Phase | _AttentionSlot], lengths: KvLengths, device: str) -> list[Phase]:
        phases: list[Phase] = []
        for item in layout:
            if isinstance(item, Phase):
                phases.append(item)
                continue
            kernel = lower_attention(item.kernel, self._trace, lengths)
            pool = self._machine.pools[device]
            cost = pool.price(kernel)
            phases.append(computing(device, pool.count, Category.ATTENTION, kernel, cost, repeats=item.repeats))
        return phases

    def _layout(self, shape: StepShape, *, prefill: bool) -> tuple[Phase | _AttentionSlot, ...]:
        key = (shape, prefill)
        layout = self._memory.get(key)
        if layout is None:
            step = _Step(self._trace, self._machine, self._placement, self._seed, shape, prefill)
            items = list(step.folded() if self._fold else step.unfolded())
            layout = self._memory[key] = tuple(_merge(items) if self._fold else items)
        return layout


@dataclass(frozen=True)
class _Step:
    """One step whose every phase but attention can be priced."""

    trace: KernelTrace
    machine: Machine
    placement: PlacementPolicy
    seed: int
    shape: StepShape
    is_prefill: bool

    def folded(self) -> Iterator[Phase | _AttentionSlot]:
        """Yield the phases with those of a block's layers multiplied."""
        for block, layers in self._blocks():
            yield from self._block(block, layers)

    def unfolded(self) -> Iterator[Phase | _AttentionSlot]:
        """Yield the phases of every layer."""
        for block, layers in self._blocks():
            for layer in layers:
                yield from self._block(block, range(layer, layer + 1))

    def _blocks(self) -> Iterator[tuple[Block, range]]:
        """Yield the blocks that run, each with its layers; one outside the layers stands for a layer of its own.

        What comes before the layers runs with the first of them, what comes after only where logits are wanted.
        """
        first, end = self.shape.layers or (0, self.trace.model.n_layers)
        in_layers = False
        for block in self.trace.blocks:
            layers = block.layer_range
            if layers:
                in_layers = True
                layers = range(max(first, layers.start), min(end, layers.stop))
                if layers:
                    yield block, layers
            elif self.shape.logit_rows if in_layers else first == 0:
                yield block, range(1)

    def _block(self, block: Block, layers: range) -> Iterator[Phase | _AttentionSlot]:
        experts: list[TraceKernel] = []
        for kernel in block.kernels:
            if kernel.per_expert:
                experts.append(kernel)
                continue
            yield from self._experts(experts, layers)
            experts = []
            for item in self._kernel(kernel, block):
                yield replace(item, repeats=len(layers))
        yield from self._experts(experts, layers)

    def _kernel(self, kernel: TraceKernel, block: Block) -> Iterator[Phase | _AttentionSlot]:
        if kernel.kernel_class is KernelClass.ATTENTION:
            yield _AttentionSlot(kernel)
            yield from self._context_back(block)
        elif kernel.kernel_class is KernelClass.KV_APPEND:
            yield from self._append(kernel, block)
        else:
            for phase in self._local(kernel):
                yield phase
                if kernel.role in ROW_PARALLEL:
                    yield from self._all_reduce(kernel, phase.resource)

    def _local(self, kernel: TraceKernel, expert_rows: int = 0) -> Iterator[Phase]:
        lowered = lower(kernel, self.trace, self.shape, expert_rows)
        if isinstance(lowered, Linear):
            yield self._compute(self._place(lowered), Category.FC, lowered)
        else:
            yield self._compute(self.machine.roles.elementwise, Category.OTHER, lowered)

    def _compute(self, device: str, category: Category, kernel: Kernel) -> Phase:
        return computing(
            device, self.machine.pools[device].count, category, kernel, self.machine.price(device, kernel)
        )

    def _place(self, kernel: Linear) -> str:
        roles = self.machine.roles
        if self.is_prefill:
            return roles.prefill.fc
        view = PlacementView(self.shape.rlp, self.shape.rows, kernel, tuple(roles.fc), self.machine.price)
        return self.placement.place(view)

    def _experts(self, kernels: list[TraceKernel], layers: range) -> Iterator[Phase]:
        """Run the experts that got rows; equal loads, whichever expert's and layer's, cost the same."""
        if not kernels:
            return
        model = self.trace.model
        loads = Counter(
            rows
            for layer in layers
            for rows in tokens_per_expert(
                self.seed, layer, self.shape.rows, model.n_experts, model.n_experts_per_token
            )
        )
        device = ""
        for rows, count in sorted(loads.items()):
            for kernel in kernels if rows else ():
                for phase in self._local(kernel, rows):
                    device = phase.resource
                    yield replace(phase, repeats=count)
        for kernel in kernels:
            if kernel.role is FcRole.FEED_FORWARD_DOWN:
                yield from (replace(phase, repeats=len(layers)) for phase in self._all_reduce(kernel, device))

    def _all_reduce(self, kernel: TraceKernel, device: str) -> Iterator[Phase]:
        """Sum the partial outputs of a row-parallel kernel; experts' outputs are first combined on each rank."""
        parallel = self.machine.roles.tensor_parallel
        if parallel.reduced is not None and device not in parallel.reduced:
            return
        if parallel.ranks > 1 and kernel.fc is not None:
            payload = self.shape.rows * kernel.fc.n * self.trace.model.element_bytes
            yield self._send(parallel.link, Message(payload, parallel.ranks), self.machine.all_reduce(payload))

    def _append(self, kernel: TraceKernel, block: Block) -> Iterator[Phase]:
        """Send the new K and V, and when decoding Q with them, to where the cache is, and write them there."""
        lowered = lower(kernel, self.trace, self.shape)
        roles = self.machine.roles
        if roles.attention_link is not None:
            queries = self._query_bytes(block) if self._attention_is_remote else 0
            yield self._message(roles.attention_link, lowered.write_bytes + queries)
        yield self._compute(roles.kv, Category.ATTENTION, lowered)

    @property
    def _attention_is_remote(self) -> bool:
        """Whether attention is computed where the cache is; a GPU attends to a prompt that it has just computed."""
        roles = self.machine.roles
        return not self.is_prefill or roles.prefill.attention == roles.attention

    def _message(self, link: str, payload_bytes: float) -> Phase:
        return self._send(link, Message(payload_bytes), self.machine.links[link].transfer(payload_bytes))

    def _send(self, link: str, message: Message, cost: Cost) -> Phase:
        work = Work(message, self.machine.links[link].count, cost.time_s, cost.bound)
        return Phase(link, Category.COMMUNICATION, cost.time_s, cost.energy, work=(work,))

    def _query_bytes(self, block: Block) -> int:
        """Bytes of Q, and of the context, which has the same shape."""
        heads = next(kernel.attention for kernel in block.kernels if kernel.attention is not None)
        return self.shape.rows * heads.n_heads * heads.head_dim * self.trace.model.element_bytes

    def _context_back(self, block: Block) -> Iterator[Phase]:
        link = self.machine.roles.attention_link
        if link is not None and self._attention_is_remote:
            yield self._message(link, self._query_bytes(block))


def computing(device: str, units: int, category: Category, kernel: Kernel, cost: Cost, *, repeats: int = 1) -> Phase:
    """Return the phase in which so many units of a device compute one kernel."""
    work = (Work(kernel, units, cost.time_s, cost.bound),)
    return Phase(device, category, cost.time_s, cost.energy, kernel.flop, repeats, work)


def _merge(items: list[Phase | _AttentionSlot]) -> Iterator[Phase | _AttentionSlot]:
    """Add up the phases of a step by resource and category: with one batch in flight their order does not matter."""
    sums: dict[tuple[str, Category], Phase] = {}
    slots: dict[str, _AttentionSlot] = {}
    for item in items:
        if isinstance(item, _AttentionSlot):
            known = slots.get(str(item.kernel.attention))
            slots[str(item.kernel.attention)] = _AttentionSlot(
                item.kernel, item.repeats + (known.repeats if known else 0)
            )
            continue
        key = (item.resource, item.category)
        so_far = sums.get(key, Phase(item.resource, item.category, 0.0, Energy()))
        sums[key] = Phase(
            item.resource,
            item.category,
            so_far.time_s + item.time_s * item.repeats,
            so_far.energy + item.energy * item.repeats,
            so_far.flop + item.flop * item.repeats,
            work=(*so_far.work, *(work._replace(times=work.times * item.repeats) for work in item.work)),
        )
    yield from sums.values()
    yield from slots.values()
