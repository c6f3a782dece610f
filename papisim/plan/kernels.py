"""From the key of a step's section to its phases.

A step computes every block of the trace, layer after layer. Kernels follow one another, since each needs the last one's
result; messages between devices are phases of their own (:mod:`papisim.plan.transfers`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple, NewType, TypeVar

from papisim.config.engine import EngineSpec, FusionSpec
from papisim.ops.cost import Energy
from papisim.ops.experts import RankLoads, Routed, Routing, rank_loads
from papisim.ops.fusion import with_append
from papisim.ops.kernel import ROW_PARALLEL, Elementwise, FcRole, Group, Kernel, KernelClass, Linear
from papisim.ops.lower import lower, lower_append
from papisim.ops.trace import Block, KernelTrace
from papisim.ops.trace_kernels import AttentionShape, TraceKernel
from papisim.plan.layout import AttentionSlot, BodyKey, HeadKey, StepKey
from papisim.plan.machine import Machine
from papisim.plan.narrowing import narrowed, narrowing, narrowing_rows
from papisim.plan.phase import Category, Exchange, Message, Phase, Work, together
from papisim.plan.sharing import SharedMachines
from papisim.plan.transfers import Transfers
from papisim.plan.unfused import UnfusedPool, unfused
from papisim.policies.placement.base import Operator

#: number of a class of kernels that cost the same at every shape and are placed alike
KernelClassId = NewType("KernelClassId", int)

AnyItem = TypeVar("AnyItem", bound=Phase | AttentionSlot)

#: bytes of a logit where tokens are sampled: 32 bits
_LOGIT_BYTES: Final = 4

#: the device of an FC kernel, given RLP, the token-rows in flight, and the kernels that narrow its input
Place = Callable[[Linear, int, int, float], str]


class StepKernel(NamedTuple):
    """A kernel of the model and the number of its class.

    Attributes:
        kernel: the kernel.
        class_id: number of its class.
        append: the write into the cache that the kernel does as well, if any.
        is_narrowed: whether a kernel of its own narrows its input, where its device takes narrow ones.
    """

    kernel: TraceKernel
    class_id: KernelClassId
    append: TraceKernel | None = None
    is_narrowed: bool = False

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
        expert_fc: one kernel per class of FC kernels of experts.
        attention: one attention kernel per shape, and whether its layer appends to the cache that it reads.
        narrowed_ratio: by class of FC kernels, the share of kernels whose input a kernel of its own narrows.
        has_experts: whether some kernels are experts'.
        has_states: whether some kernels update states of requests.
    """

    def __init__(self, trace: KernelTrace, fusion: FusionSpec) -> None:
        self.trace = trace
        classes: dict[Hashable, KernelClassId] = {}
        blocks, reached = list[StepBlock](), False
        for block in trace.blocks:
            kernels = tuple(
                StepKernel(
                    kernel, classes.setdefault(_alike(kernel), KernelClassId(len(classes))), is_narrowed=is_narrowed
                )
                for kernel, is_narrowed in zip(
                    block.kernels, narrowed(block.kernels, is_merged=fusion.quantise), strict=True
                )
            )
            layers = block.layer_indices
            reached = reached or bool(layers)
            blocks.append(StepBlock(block, layers, reached and not layers, kernels))
        self.blocks = tuple(blocks)
        self.narrowed_ratio = _narrowed_ratio(blocks)
        every = {each.class_id: each for block in blocks for each in block.kernels}.values()
        self.has_experts = trace.has_experts
        self.has_states = any(each.kernel.state_bytes for each in every)
        attention = {
            each.attention: (each, bool(block.appended))
            for block in trace.blocks
            for each in block.kernels
            if each.attention is not None
        }
        self.attention = tuple(attention.values())
        self.head_fc = tuple(each for each in every if each.is_fc and each.is_head)
        self.body_fc = tuple(each for each in every if each.is_fc and not (each.is_head or each.kernel.per_expert))
        self.expert_fc = tuple(each for each in every if each.is_fc and each.kernel.per_expert and not each.is_head)
        classes_of_fc = (self.head_fc, self.body_fc, self.expert_fc)
        self.place = {each.class_id: at for fc in classes_of_fc for at, each in enumerate(fc)}
        self.attention_place = {shape: at for at, shape in enumerate(attention)}


def _narrowed_ratio(blocks: Iterable[StepBlock]) -> dict[KernelClassId, float]:
    """Return the share of the kernels of each class of FC kernels whose input a kernel of its own narrows."""
    every, with_own = Counter[KernelClassId](), Counter[KernelClassId]()
    for block in blocks:
        for each in block.kernels:
            if each.is_fc:
                every[each.class_id] += max(1, len(block.layers))
                with_own[each.class_id] += max(1, len(block.layers)) * each.is_narrowed
    return {class_id: with_own[class_id] / n for class_id, n in every.items()}


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
        machine: the hardware of one attention group.
        place: the placement of experts, whose rows differ between layers.
        routing: how tokens choose experts.
        engine: how the engine launches kernels.
        shared: the ranks that share attention, and those that share experts.
    """

    model: ModelKernels
    machine: Machine
    place: Place
    routing: Routing
    engine: EngineSpec
    shared: SharedMachines

    @cached_property
    def transfers(self) -> Transfers:
        """The messages between the machine's devices."""
        return Transfers(self.machine, self.model.trace.model.element_bytes)

    @cached_property
    def eager(self) -> UnfusedPool | None:
        """The devices that launch each operation by itself; None where kernels are fused, or if the device has none but such."""
        pool: object = self.machine.pools[self.machine.roles.elementwise]
        return pool if self.engine.fusion.kernels == "aten" and isinstance(pool, UnfusedPool) else None

    @cached_property
    def writes_rotated(self) -> bool:
        """Whether the kernel of the rotary embedding writes the caches: with both on one device."""
        roles = self.machine.roles
        return self.engine.fusion.rotary_append and roles.attention_link is None and roles.kv == roles.elementwise

    def body(self, key: BodyKey) -> Iterator[Phase | AttentionSlot]:
        """Yield the phases of a body, with those of a block's layers multiplied."""
        body = _Body(self, key)
        yield from self._with_gaps(item for block, layers in body.blocks() for item in body.block(block, layers))

    def head(self, key: HeadKey) -> Iterator[Phase]:
        """Yield the phases of the LM head, and of sampling from its logits."""
        heads = (kernel for block in self.model.blocks for kernel in block.kernels if kernel.is_head)
        yield from self._with_gaps(self.head_phase(kernel, key) for kernel in heads)
        yield from self.sampling(key)

    def unfolded(self, key: StepKey) -> Iterator[Phase | AttentionSlot]:
        """Yield the phases of a whole step, layer by layer."""
        body = _Body(self, key.body, key.head)
        yield from self._with_gaps(item for block, layer in body.in_order() for item in body.block(block, (layer,)))
        if key.head is not None:
            yield from self.sampling(key.head)

    def sampling(self, key: HeadKey) -> Iterator[Phase]:
        """Yield the phases of sampling from the logits of the rows of a key."""
        spec, device = self.engine.sampling, self.machine.roles.elementwise
        if not spec.kernels:
            return
        vocabulary = self.model.trace.model.vocab_size
        moved = (
            (Elementwise(KernelClass.OTHER, logits, int(spec.passes * _LOGIT_BYTES * logits), 0), n)
            for logits, n in ((rows * vocabulary, n) for rows, n in key.each)
        )
        yield together([(self.machine.compute(device, Category.OTHER, each), n) for each, n in moved])
        if spec.kernels > 1:
            small = Elementwise(KernelClass.OTHER, 0, 0, 0)
            yield self.machine.compute(device, Category.OTHER, small, repeats=spec.kernels - 1)

    def _with_gaps(self, items: Iterable[AnyItem]) -> Iterator[AnyItem | Phase]:
        """Yield phases, and then the gaps between their kernels where each operation is launched by itself."""
        n_kernels, device = 0, self.machine.roles.elementwise
        for item in items:
            if isinstance(item, AttentionSlot):
                n_kernels += item.repeats
            elif item.resource == device:
                n_kernels += item.n_kernels
            yield item
        gap_s = 0.0 if self.eager is None else self.eager.part.between_kernels_s
        if gap_s:
            yield Phase(device, Category.OTHER, gap_s * n_kernels, Energy())

    def head_phase(self, kernel: StepKernel, key: HeadKey) -> Phase:
        """Return the phase of a kernel of the LM head."""
        device = key.devices[self.model.place[kernel.class_id]]
        lowered = ((lower(kernel.kernel, self.model.trace, rows), n) for rows, n in key.each)
        phase = together([(self.machine.compute(device, Category.FC, each), n) for each, n in lowered])
        return phase._replace(operator=Operator.FC)


@dataclass(frozen=True)
class _Body:
    """A step's body as it is laid out from its key; with the LM head, if its key is given.

    Attributes:
        planner: the planner of sections.
        key: key of the whole step, or of an attention group.
        head: key of the LM head, if it is laid out as well.
        gathers: whether contexts of decoding rows are put together from the ranks over which their caches are split.
    """

    planner: SectionPlanner
    key: BodyKey
    head: HeadKey | None = None
    gathers: bool = False
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
        is_reduced = False
        for kernel in self._launched(block):
            if kernel.kernel.per_expert:
                experts.append(kernel)
                continue
            reduced = list(self._experts(experts, layers))
            yield from reduced
            experts = []
            items = self._on_groups(kernel, block.block)
            if (is_reduced or _ends_in_sum(reduced)) and self._joins_sum(kernel):
                items = [self._in_sum(items[0])]
            for item in items:
                yield item._replace(repeats=len(layers))
            is_reduced = _ends_in_sum(items)
        yield from self._experts(experts, layers)

    @cached_property
    def _groups(self) -> tuple[tuple[_Body, int], ...]:
        """The bodies of attention groups, and the number of groups with each; empty for one group."""
        gathers = self.planner.shared.context_ranks > 1 and bool(self.key.query_rows)
        return tuple((_Body(self.planner, key, self.head, gathers), n) for key, n in self.key.groups)

    def _on_groups(self, kernel: StepKernel, block: Block) -> list[Phase | AttentionSlot]:
        """Return the phases of a kernel that all attention groups run at the same time, each for its own rows."""
        if not self._groups:
            return list(self._kernel(kernel, block))
        if kernel.is_head:  # the key of the head has groups of its own
            return [] if self.head is None else [self.planner.head_phase(kernel, self.head)]
        each = [(list(body._kernel(kernel, block)), n) for body, n in self._groups]
        return [_at_once([(items[at], n) for items, n in each]) for at in range(len(each[0][0]))]

    def _launched(self, block: StepBlock) -> Iterator[StepKernel]:
        """Yield the kernels of a block; where one kernel rotates K and writes it, that one in the place of both."""
        kernels = iter(block.kernels)
        for kernel in kernels:
            following = next(kernels, None) if self._may_write(kernel) else None
            if following is None:
                yield kernel
            elif following.kernel.kernel_class is KernelClass.KV_APPEND:
                yield kernel._replace(append=following.kernel)
            else:
                yield from (kernel, following)

    def _may_write(self, kernel: StepKernel) -> bool:
        return self.planner.writes_rotated and kernel.kernel.kernel_class is KernelClass.ROTARY

    def _joins_sum(self, kernel: StepKernel) -> bool:
        """Whether the all-reduce before a kernel computes the kernel, too: the sum with the residual and its norm."""
        return self.planner.engine.fusion.all_reduce_norm and kernel.kernel.kernel_class is KernelClass.NORMALISATION

    def _in_sum(self, item: Phase | AttentionSlot) -> Phase | AttentionSlot:
        """Return a streaming kernel without its launch, as part of the all-reduce before it."""
        if isinstance(item, AttentionSlot):
            return item
        empty = Elementwise(KernelClass.NORMALISATION, 0, 0, 0)
        time_s = max(0.0, item.time_s - self.planner.machine.price(item.resource, empty).time_s)
        return item._replace(time_s=time_s, work=tuple(each._replace(time_s=time_s, kernels=0) for each in item.work))

    def _attends(self, shape: AttentionShape) -> str:
        """Return the device of attention of requests that decode."""
        at = self.planner.model.attention_place[shape]
        return self.key.attention[at] if self.key.attention else self.planner.machine.roles.attention

    def _query_rows(self, shape: AttentionShape) -> int:
        """Return the token-rows whose attention is computed where the caches are."""
        is_elsewhere = self._attends(shape) != self.planner.machine.roles.attention
        return self.key.query_rows - (self.key.decoding_rows if is_elsewhere else 0)

    def _kernel(self, kernel: StepKernel, block: Block) -> Iterator[Phase | AttentionSlot]:
        transfers = self.planner.transfers
        if kernel.is_head:
            if self.head is not None:
                yield self.planner.head_phase(kernel, self.head)
        elif kernel.kernel.attention is not None:
            shape, rows = kernel.kernel.attention, self._query_rows(kernel.kernel.attention)
            if not block.appended:
                yield from transfers.queries(rows, shape)
            if self.gathers:
                yield from transfers.gather_queries(rows, shape)
            yield AttentionSlot(kernel.kernel, self._attends(shape))
            if self.gathers:
                yield from transfers.sum_contexts(rows, shape)
            yield from transfers.context(rows, shape)
        elif kernel.kernel.kernel_class is KernelClass.KV_APPEND:
            yield from self._append(kernel, block)
        elif kernel.kernel.state_bytes is not None:
            yield from self._states(kernel)
        elif kernel.append is not None:
            yield self._rotated(kernel, block)
        else:
            phase = self._local(kernel)
            yield from self._narrowed(kernel, phase.resource)
            yield phase
            if kernel.kernel.role in ROW_PARALLEL:
                yield from transfers.reduce(kernel.kernel, self.key.rows, phase.resource)

    def _states(self, kernel: StepKernel) -> Iterator[Phase]:
        """Update requests' states where their caches are, those of prompts where prompts are attended to."""
        machine, key = self.planner.machine, self.key
        device = machine.roles.attention if key.query_rows else machine.roles.prefill.attention
        trace, drafted_rows = self.planner.model.trace, key.drafted_rows
        update = lower(kernel.kernel, trace, key.rows, requests=key.requests, drafted_rows=drafted_rows)
        phase = machine.compute(device, Category.ATTENTION, update)
        assert isinstance(update, Elementwise), "of a state kernel"
        yield from self.planner.transfers.around_states(update, phase)

    def _local(self, kernel: StepKernel, experts: tuple[Group, ...] = ()) -> Phase:
        """Return the phase of a kernel on its own device; kernels of one class are priced once per body."""
        known = kernel.class_id, experts
        phase = self._priced.get(known)
        if phase is None:
            machine, rows = self._on_ranks(kernel)
            lowered = lower(kernel.kernel, self.planner.model.trace, rows, experts)
            if isinstance(lowered, Linear):
                operator = Operator.EXPERTS if kernel.kernel.per_expert else Operator.FC
                phase = machine.compute(self._device(kernel, lowered), Category.FC, lowered)._replace(
                    operator=operator
                )
            elif self.planner.eager is not None:
                phase = self._unfused(kernel, self.planner.eager, Category.OTHER, self.key.rows, experts)
            else:
                phase = machine.compute(machine.roles.elementwise, Category.OTHER, lowered)
            self._priced[known] = phase
        return phase

    def _on_ranks(self, kernel: StepKernel) -> tuple[Machine, int]:
        """Return the ranks that share a kernel, and the token-rows that each knows: after a dispatch its own, and those that came."""
        shared = self.planner.shared
        if kernel.kernel.per_expert:
            return shared.experts, -(-self.key.rows // shared.senders)
        return self.planner.machine, self.key.rows

    def _narrowed(self, kernel: StepKernel, device: str, experts: tuple[Group, ...] = ()) -> Iterator[Phase]:
        """Yield the kernel that narrows the input of an FC kernel before it, where its device needs one."""
        if not kernel.is_narrowed:
            return
        machine, rows = self._on_ranks(kernel)
        lowered = lower(kernel.kernel, self.planner.model.trace, rows, experts)
        if isinstance(lowered, Linear) and machine.pools[device].quantises(lowered):
            yield machine.compute(device, Category.OTHER, narrowing(lowered, narrowing_rows(lowered, rows)))

    def _append(self, kernel: StepKernel, block: Block) -> Iterator[Phase]:
        """Yield the write of the new K and V, with the message before it."""
        planner, rows = self.planner, self.key.appended_rows
        *messages, write = planner.transfers.append(planner.model.trace, rows, self._query_rows, block)
        yield from messages
        if planner.eager is not None and planner.machine.roles.kv == planner.machine.roles.elementwise:
            write = self._unfused(kernel, planner.eager, write.category, rows)
        yield write

    def _rotated(self, kernel: StepKernel, block: Block) -> Phase:
        """Return the phase of the kernel that rotates Q and K and writes K and V."""
        machine, trace = self.planner.machine, self.planner.model.trace
        append, written = kernel.append, lower_append(block, trace, self.key.appended_rows)
        assert append is not None
        assert written is not None, "of a layer with caches"
        both = with_append(kernel.kernel, append, written, self.key.appended_rows)
        return machine.compute(machine.roles.elementwise, Category.OTHER, both)

    def _unfused(
        self, kernel: StepKernel, pool: UnfusedPool, category: Category, rows: int, experts: tuple[Group, ...] = ()
    ) -> Phase:
        """Return the phase of the single operations of a kernel, of one expert at a time."""
        expert_rows = sum(group.rows * group.products for group in experts)
        item, n_kernels = unfused(kernel.kernel, rows, expert_rows)
        cost = pool.price_unfused(item, n_kernels, expert_rows or rows)
        work = (Work(item, pool.count, cost.time_s, cost.bound, kernels=n_kernels),)
        return Phase(self.planner.machine.roles.elementwise, category, cost.time_s, cost.energy, item.flop, work=work)

    def _device(self, kernel: StepKernel, lowered: Linear) -> str:
        if not kernel.kernel.per_expert:
            return self.key.devices[self.planner.model.place[kernel.class_id]]
        if self.key.expert_rlp is None:
            return self.planner.machine.roles.prefill.fc
        if self.key.experts:
            return self.key.experts[self.planner.model.place[kernel.class_id]]
        ratio = self.planner.model.narrowed_ratio[kernel.class_id]
        return self.planner.place(lowered, self.key.expert_rlp, self.key.rows, ratio)

    def _experts(self, kernels: list[StepKernel], layers: Sequence[int]) -> Iterator[Phase]:
        """Run each kernel of the experts that got rows in one launch per layer, as engines do.

        FC kernels are grouped: what they cost depends on the rows of each expert. What surrounds them, which gathers rows,
        activates them and adds them up, streams the rows of all.
        """
        if not kernels:
            return
        shared, eager = self.planner.shared, self.planner.eager is not None
        loads = Counter(self._loads(layer) for layer in layers)
        for load, count in loads.items():
            yield from _repeated(shared.to_experts(load, self.key.rows, self._hidden, Exchange.DISPATCH), count)
        device = ""
        for kernel in kernels:
            for runs, count in self._runs(loads, one_by_one=eager, small=not (kernel.is_fc or eager)).items():
                phase = together([(self._local(kernel, groups), n) for groups, n in runs])
                device = phase.resource if kernel.is_fc else device
                narrowed = [
                    (each, n) for groups, n in runs for each in self._narrowed(kernel, phase.resource, groups)
                ]
                if narrowed:
                    yield together(narrowed)._replace(repeats=count)
                yield phase._replace(repeats=count)
        for load, count in loads.items():
            yield from _repeated(shared.to_experts(load, self.key.rows, self._hidden, Exchange.COMBINE), count)
        for kernel in kernels:
            if kernel.kernel.role is FcRole.FEED_FORWARD_DOWN and shared.sums_experts:
                for phase in self.planner.transfers.reduce(kernel.kernel, self.key.rows, device):
                    yield phase._replace(repeats=len(layers))

    @property
    def _hidden(self) -> int:
        return self.planner.model.trace.model.hidden_size

    def _loads(self, layer: int) -> RankLoads:
        """Return the rows of the experts of a layer on each rank."""
        model, key = self.planner.model.trace.model, self.key
        routed = Routed(layer, key.rows, key.drafting or key.rows, model.n_experts, model.n_experts_per_token)
        spread = self.planner.shared.spread([(own.rows, n) for own, n in key.groups])
        return rank_loads(self.planner.routing, routed, spread)

    def _runs(self, loads: Mapping[RankLoads, int], *, one_by_one: bool, small: bool) -> Counter[_Runs]:
        """Return the experts that ranks run at the same time, and how often, each with the number of ranks that have them.

        Args:
            loads: rows of the experts of each rank, and the number of layers with them.
            one_by_one: whether experts run one at a time, as in eager torch, by the rows of each.
            small: whether it is a small kernel, for which the sum of a rank's rows is all that matters.
        """
        every_row = self.planner.engine.fusion.all_expert_rows and self.planner.shared.senders == 1
        runs = Counter[_Runs]()
        for load, count in loads.items():
            ranks = Counter(_groups(rows) for rows in load.rows if any(rows))
            if one_by_one:
                for group in next(iter(ranks)):
                    runs[(((Group(group.rows, 1),), 1),)] += count * group.products
            elif small and every_row:
                rows = sum(map(sum, load.rows))
                runs[(((Group(rows, 1),), len(load.rows)),)] += count
            elif small:
                sums = Counter(sum(group.rows * group.products for group in groups) for groups in ranks.elements())
                runs[tuple(((Group(rows, 1),), n) for rows, n in sums.items())] += count
            else:
                runs[tuple(ranks.items())] += count
        return runs


#: groups of experts that ranks run in one launch, and the number of ranks that have them
_Runs = tuple[tuple[tuple[Group, ...], int], ...]


def _at_once(items: Sequence[tuple[Phase | AttentionSlot, int]]) -> Phase | AttentionSlot:
    """Return the phase of a kernel that groups of ranks run at the same time, or its slot."""
    phases = [(item, n) for item, n in items if isinstance(item, Phase)]
    return together(phases) if phases else items[0][0]


def _repeated(phases: Iterable[Phase], count: int) -> Iterator[Phase]:
    return (phase._replace(repeats=count) for phase in phases)


def _groups(rows_of_experts: Sequence[int]) -> tuple[Group, ...]:
    """Return the experts that got rows by the number of their rows."""
    counts = Counter(rows for rows in rows_of_experts if rows)
    return tuple(Group(rows, counts[rows]) for rows in sorted(counts))


def _ends_in_sum(items: Sequence[Phase | AttentionSlot]) -> bool:
    """Whether the last of some phases is an all-reduce."""
    last = items[-1] if items else None
    return isinstance(last, Phase) and any(
        isinstance(work.item, Message) and work.item.exchange is Exchange.ALL_REDUCE for work in last.work
    )


def linear(kernel: StepKernel, trace: KernelTrace, rows: int) -> Linear:
    """Return an FC kernel of the model at a number of token-rows.

    Raises:
        TypeError: the kernel is not fully connected.
    """
    lowered: Kernel = lower(kernel.kernel, trace, rows)
    if not isinstance(lowered, Linear):
        raise TypeError(f"kernel '{kernel.kernel.name}' is not fully connected")
    return lowered
