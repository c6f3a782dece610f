"""From the key of a step's section to its phases.

A step computes every block of the trace, layer after layer. Kernels follow one another, since each needs the last one's
result; messages between devices are phases of their own (:mod:`papisim.plan.transfers`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, NewType

from papisim.ops.experts import tokens_per_expert
from papisim.ops.kernel import ROW_PARALLEL, Elementwise, FcRole, Group, Kernel, KernelClass, Linear
from papisim.ops.lower import lower
from papisim.ops.trace import Block, KernelTrace
from papisim.ops.trace_kernels import TraceKernel
from papisim.plan.layout import AttentionSlot, BodyKey, HeadKey, StepKey
from papisim.plan.machine import Machine
from papisim.plan.phase import Category, Phase
from papisim.plan.transfers import Transfers

#: number of a class of kernels that cost the same at every shape and are placed alike
KernelClassId = NewType("KernelClassId", int)

#: the device of an FC kernel, given RLP and the token-rows in flight
Place = Callable[[Linear, int, int], str]


class StepKernel(NamedTuple):
    """A kernel of the model and the number of its class."""

    kernel: TraceKernel
    class_id: KernelClassId

    @property
    def is_head(self) -> bool:
        """Whether the kernel belongs to the LM head."""
        return self.kernel.role is FcRole.LM_HEAD

    @property
    def is_fc(self) -> bool:
        """Whether the kernel is fully connected."""
        return self.kernel.role is not None and self.kernel.fc is not None


class StepBlock(NamedTuple):
    """A block of the model.

    Attributes:
        block: the block of the trace.
        layers: the layers that the block stands for; empty for a block outside the layers.
        is_last: whether the block comes after the layers.
        kernels: the block's kernels in launch order.
    """

    block: Block
    layers: tuple[int, ...]
    is_last: bool
    kernels: tuple[StepKernel, ...]


class ModelKernels:
    """A model's kernels, sorted into classes.

    Attributes:
        trace: the model.
        blocks: its blocks in launch order.
        body_fc: one kernel per class of FC kernels, neither an expert's nor of the LM head.
        head_fc: one kernel per class of FC kernels of the LM head.
        has_experts: whether some kernels are experts'.
        has_states: whether some kernels update states of requests.
    """

    def __init__(self, trace: KernelTrace) -> None:
        self.trace = trace
        classes: dict[Hashable, KernelClassId] = {}
        blocks, reached = list[StepBlock](), False
        for block in trace.blocks:
            kernels = tuple(
                StepKernel(kernel, classes.setdefault(_alike(kernel), KernelClassId(len(classes))))
                for kernel in block.kernels
            )
            layers = block.layer_indices
            reached = reached or bool(layers)
            blocks.append(StepBlock(block, layers, reached and not layers, kernels))
        self.blocks = tuple(blocks)
        every = {each.class_id: each for block in blocks for each in block.kernels}.values()
        self.has_experts = any(each.kernel.per_expert for each in every)
        self.has_states = any(each.kernel.state_bytes for each in every)
        self.head_fc = tuple(each for each in every if each.is_fc and each.is_head)
        self.body_fc = tuple(each for each in every if each.is_fc and not (each.is_head or each.kernel.per_expert))
        self.place = {each.class_id: at for fc in (self.head_fc, self.body_fc) for at, each in enumerate(fc)}


def _alike(kernel: TraceKernel) -> Hashable:
    """Return the quantities that decide the cost of a kernel at every shape."""
    return (
        kernel.kernel_class,
        kernel.role,
        kernel.fc,
        kernel.flop,
        kernel.read_bytes,
        kernel.write_bytes,
        kernel.per_expert,
        kernel.state_bytes,
    )


@dataclass(frozen=True)
class SectionPlanner:
    """Lays out the sections of steps from their keys.

    Attributes:
        model: the model's kernels.
        machine: the hardware.
        place: the placement of experts, whose rows differ between layers.
        seed: seed of the experts' router.
    """

    model: ModelKernels
    machine: Machine
    place: Place
    seed: int

    @cached_property
    def transfers(self) -> Transfers:
        """The messages between the machine's devices."""
        return Transfers(self.machine, self.model.trace.model.element_bytes)

    def body(self, key: BodyKey) -> Iterator[Phase | AttentionSlot]:
        """Yield the phases of a body, with those of a block's layers multiplied."""
        body = _Body(self, key)
        for block, layers in body.blocks():
            yield from body.block(block, layers)

    def head(self, key: HeadKey) -> Iterator[Phase]:
        """Yield the phases of the LM head."""
        for block in self.model.blocks:
            for kernel in block.kernels:
                if kernel.is_head:
                    yield self.head_phase(kernel, key)

    def unfolded(self, key: StepKey) -> Iterator[Phase | AttentionSlot]:
        """Yield the phases of a whole step, layer by layer."""
        body = _Body(self, key.body, key.head)
        for block, layer in body.in_order():
            yield from body.block(block, (layer,))

    def head_phase(self, kernel: StepKernel, key: HeadKey) -> Phase:
        """Return the phase of a kernel of the LM head."""
        device = key.devices[self.model.place[kernel.class_id]]
        return self.machine.compute(device, Category.FC, lower(kernel.kernel, self.model.trace, key.rows))


@dataclass(frozen=True)
class _Body:
    """A step's body as it is laid out from its key; with the LM head, if its key is given."""

    planner: SectionPlanner
    key: BodyKey
    head: HeadKey | None = None
    _priced: dict[tuple[KernelClassId, tuple[Group, ...]], Phase] = field(default_factory=dict)

    def in_order(self) -> list[tuple[StepBlock, int]]:
        """Return each layer that runs with its block, and the blocks before and after them, in order."""
        each = [(block, layer) for block, layers in self.blocks() for layer in layers]
        n_layers = self.planner.model.trace.model.n_layers
        return sorted(each, key=lambda item: item[1] if item[0].layers else n_layers if item[0].is_last else -1)

    def blocks(self) -> Iterator[tuple[StepBlock, Sequence[int]]]:
        """Yield the blocks that run, each with its layers; a block outside the layers has one.

        The blocks before the layers run with the first of them, those after only where logits are wanted.
        """
        first, end = self.key.layers or (0, self.planner.model.trace.model.n_layers)
        for block in self.planner.model.blocks:
            if block.layers:
                layers = [layer for layer in block.layers if first <= layer < end]
                if layers:
                    yield block, layers
            elif self.key.wants_logits if block.is_last else first == 0:
                yield block, (0,)

    def block(self, block: StepBlock, layers: Sequence[int]) -> Iterator[Phase | AttentionSlot]:
        """Yield the phases of a block in the given layers."""
        experts: list[StepKernel] = []
        for kernel in block.kernels:
            if kernel.kernel.per_expert:
                experts.append(kernel)
                continue
            yield from self._experts(experts, layers)
            experts = []
            for item in self._kernel(kernel, block.block):
                yield item._replace(repeats=len(layers))
        yield from self._experts(experts, layers)

    def _kernel(self, kernel: StepKernel, block: Block) -> Iterator[Phase | AttentionSlot]:
        transfers, rows = self.planner.transfers, self.key.query_rows
        if kernel.is_head:
            if self.head is not None:
                yield self.planner.head_phase(kernel, self.head)
        elif kernel.kernel.attention is not None:
            if not block.appended:
                yield from transfers.queries(rows, kernel.kernel.attention)
            yield AttentionSlot(kernel.kernel)
            yield from transfers.context(rows, kernel.kernel.attention)
        elif kernel.kernel.kernel_class is KernelClass.KV_APPEND:
            yield from transfers.append(self.planner.model.trace, self.key.rows, rows, block)
        elif kernel.kernel.state_bytes is not None:
            yield from self._states(kernel)
        else:
            phase = self._local(kernel)
            yield phase
            if kernel.kernel.role in ROW_PARALLEL:
                yield from transfers.reduce(kernel.kernel, self.key.rows, phase.resource)

    def _states(self, kernel: StepKernel) -> Iterator[Phase]:
        """Update requests' states where their caches are, those of prompts where prompts are attended to."""
        machine, key = self.planner.machine, self.key
        device = machine.roles.attention if key.query_rows else machine.roles.prefill.attention
        update = lower(kernel.kernel, self.planner.model.trace, key.rows, requests=key.requests)
        phase = machine.compute(device, Category.ATTENTION, update)
        assert isinstance(update, Elementwise), "of a state kernel"
        yield from self.planner.transfers.around_states(update, phase)

    def _local(self, kernel: StepKernel, experts: tuple[Group, ...] = ()) -> Phase:
        """Return the phase of a kernel on its own device; kernels of one class are priced once per body."""
        known = kernel.class_id, experts
        phase = self._priced.get(known)
        if phase is None:
            machine = self.planner.machine
            lowered = lower(kernel.kernel, self.planner.model.trace, self.key.rows, experts)
            if isinstance(lowered, Linear):
                phase = machine.compute(self._device(kernel, lowered), Category.FC, lowered)
            else:
                phase = machine.compute(machine.roles.elementwise, Category.OTHER, lowered)
            self._priced[known] = phase
        return phase

    def _device(self, kernel: StepKernel, lowered: Linear) -> str:
        if not kernel.kernel.per_expert:
            return self.key.devices[self.planner.model.place[kernel.class_id]]
        if self.key.expert_rlp is None:
            return self.planner.machine.roles.prefill.fc
        return self.planner.place(lowered, self.key.expert_rlp, self.key.rows)

    def _experts(self, kernels: list[StepKernel], layers: Sequence[int]) -> Iterator[Phase]:
        """Run each kernel of the experts that got rows in one launch per layer, as engines do.

        FC kernels are grouped: what they cost depends on the rows of each expert. What surrounds them, which gathers rows,
        activates them and adds them up, streams the rows of all.
        """
        if not kernels:
            return
        model = self.planner.model.trace.model
        loads = Counter(
            _groups(
                tokens_per_expert(self.planner.seed, layer, self.key.rows, model.n_experts, model.n_experts_per_token)
            )
            for layer in layers
        )
        device = ""
        for kernel in kernels:
            for experts, count in loads.items() if kernel.is_fc else [(next(iter(loads)), len(layers))]:
                phase = self._local(kernel, experts)
                device = phase.resource if kernel.is_fc else device
                yield phase._replace(repeats=count)
        for kernel in kernels:
            if kernel.kernel.role is FcRole.FEED_FORWARD_DOWN:
                for phase in self.planner.transfers.reduce(kernel.kernel, self.key.rows, device):
                    yield phase._replace(repeats=len(layers))


def _groups(rows_of_experts: Sequence[int]) -> tuple[Group, ...]:
    """Return the experts that got rows by the number of their rows."""
    counts = Counter(rows for rows in rows_of_experts if rows)
    return tuple(Group(rows, counts[rows]) for rows in sorted(counts))


def linear(kernel: StepKernel, trace: KernelTrace, rows: int) -> Linear:
    """Return an FC kernel of the model at a number of token-rows.

    Raises:
        TypeError: the kernel is not fully connected.
    """
    lowered: Kernel = lower(kernel.kernel, trace, rows)
    if not isinstance(lowered, Linear):
        raise TypeError(f"kernel '{kernel.kernel.name}' is not fully connected")
    return lowered
