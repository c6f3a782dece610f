"""What one step of the model consists of on a machine: phases, each on one device or link.

A step computes every block of the trace, layer after layer. Its kernels follow one another, since each needs the last
one's result; what a kernel must fetch from or send to another device is a phase of its own on the link between.

A step decodes, computes prompts, or does both (a mixed step):

- FC and elementwise kernels see all token-rows at once, since they share one pass over the weights. A pure prefill runs
  them on the device that the system names for prompts. In a mixed step the placement policy decides, and the rows that
  it sees in flight (PAPI's RLP × TLP) are all of them: a prompt's tokens raise the arithmetic intensity of the FC kernel
  as draft tokens do, so under PAPI's rule a step with a few prompt tokens stays on FC-PIM, one with a chunk goes to the
  processing units.
- Attention of the decoding requests and of the prompts are two kernels, each on its own device. A chunk attends to the
  part of its prompt that is cached already; where the caches are on another device than the one that computes prompts,
  that part is fetched over the link, layer by layer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from papisim.devices.base import AttentionRun
from papisim.ops.cost import Cost, Energy
from papisim.ops.experts import tokens_per_expert
from papisim.ops.kernel import ROW_PARALLEL, FcRole, Kernel, KernelClass, Linear
from papisim.ops.lower import KvLengths, Prompts, StepShape, lower, lower_attention
from papisim.ops.trace import AttentionShape, Block, KernelTrace, TraceKernel
from papisim.plan.machine import Machine
from papisim.plan.phase import Category, Message, Phase, Work
from papisim.plan.sums import Key, Sums
from papisim.policies.placement.base import PlacementPolicy, PlacementView

#: parts of steps that a planner remembers
_PARTS_KEPT = 20_000


class AttentionSlot(NamedTuple):
    """Where attention stands in a layer; its cost changes with every step, the rest of the layer's does not."""

    kernel: TraceKernel
    repeats: int = 1


class Part:
    """Phases that steps have in common, and the attention kernels between them.

    Attributes:
        items: phases and attention kernels, in the order they run.
        slots: the attention kernels among them.
        sums: of the phases among them.
        time_s: seconds of those phases.
        fc_devices: devices that run FC kernels.
    """

    __slots__ = ("fc_devices", "items", "slots", "sums", "time_s")

    def __init__(self, items: Iterable[Phase | AttentionSlot]) -> None:
        self.items = tuple(items)
        self.slots = tuple(item for item in self.items if isinstance(item, AttentionSlot))
        self.sums = Sums(item for item in self.items if isinstance(item, Phase))
        self.time_s = self.sums.time_s
        self.fc_devices = tuple(self.sums.fc_flop_by)


class Layout(tuple[Part, ...]):
    """All of a step but its attention: what does not depend on the lengths of caches."""

    __slots__ = ()

    @property
    def time_s(self) -> float:
        """Seconds of all phases."""
        return sum(part.time_s for part in self)


#: of a step none of whose phases is shared
NOTHING = Layout()


class StepPlanner:
    """Turns steps into phases, remembering what does not depend on the KV caches' lengths.

    Args:
        trace: the model.
        machine: the hardware.
        placement: where FC kernels of decoding steps run.
        seed: the seed of the experts' router.
        fold: price identical layers once and multiply; may be changed between steps.
    """

    def __init__(
        self, trace: KernelTrace, machine: Machine, placement: PlacementPolicy, *, seed: int, fold: bool
    ) -> None:
        self._trace = trace
        self._machine = machine
        self._placement = placement
        self._seed = seed
        self.fold = fold
        self._parts: dict[Hashable, Part] = {}
        self._merged: dict[Layout, tuple[Phase | AttentionSlot, ...]] = {}
        self._candidates = tuple(machine.roles.fc)
        # kernels of one role and weight are placed alike
        distinct = {(kernel.role, kernel.fc): kernel for kernel, _ in trace.kernels() if kernel.role is not None}
        self._heads = [kernel for kernel in distinct.values() if _is_head(kernel)]
        self._placed = [kernel for kernel in distinct.values() if not (kernel.per_expert or _is_head(kernel))]
        self._has_experts = any(kernel.per_expert for kernel, _ in trace.kernels())
        self._where: dict[tuple[int, int, int, bool], tuple[str, ...]] = {}
        self._alike = _alike(kernel for kernel, _ in trace.kernels())

    def decode(self, shape: StepShape, lengths: KvLengths, prompts: Prompts | None = None) -> list[Phase]:
        """Return the phases of a decoding step.

        Args:
            shape: of the decoding alone.
            lengths: the caches of the requests that decode.
            prompts: those that are computed beside them, if any.
        """
        if prompts is None:
            return self._fill(self.layout(shape), lengths, None)
        return self._fill(self.layout(shape.with_prompts(prompts)), lengths, prompts.lengths)

    def prefill(self, shape: StepShape, lengths: KvLengths) -> list[Phase]:
        """Return the phases of a step that computes prompts and nothing else."""
        return self._fill(self.layout(shape), None, lengths)

    def work(
        self, shape: StepShape, decode: KvLengths | None, prompts: KvLengths | None, *, in_order: bool
    ) -> tuple[Layout, list[Phase]]:
        """Return a step's layout and the phases that are not in it; all of them and none, if asked for in order."""
        layout = self.layout(shape)
        if in_order:
            return NOTHING, self._fill(layout, decode, prompts)
        return layout, [phase for slot in _slots(layout) for phase in self._attend(slot, decode, prompts)]

    def place(self, kernel: Linear, rlp: int, rows: int) -> str:
        """Return the device on which the policy places an FC kernel of a decoding step."""
        return self._placement.place(PlacementView(rlp, rows, kernel, self._candidates, self._machine.price))

    def fc_time_s(self, shape: StepShape) -> float:
        """Return the seconds that the FC kernels of a decoding step take where the policy places them."""
        return sum(part.sums.time_by.get(Category.FC, 0.0) for part in self.layout(shape))

    def growing(self, layout: Layout, lengths: KvLengths, n: int) -> list[tuple[Phase, AttentionRun]]:
        """Return the attention of ``n`` decoding iterations, in each of which every cache is longer by its new tokens.

        Returns:
            For each attention phase of the layout, the first iteration's phase without its cost, and the costs of all.
        """
        device, runs = self._machine.roles.attention, []
        for slot in _slots(layout):
            kernel = lower_attention(slot.kernel, self._trace, lengths)
            run = self._machine.pools[device].price_growing(kernel, n)
            runs.append((Phase(device, Category.ATTENTION, 0.0, Energy(), kernel.flop, slot.repeats), run))
        return runs

    def _fill(self, layout: Layout, decode: KvLengths | None, prompts: KvLengths | None) -> list[Phase]:
        phases: list[Phase] = []
        for item in self._items(layout):
            if isinstance(item, Phase):
                phases.append(item)
            else:
                phases += self._attend(item, decode, prompts)
        return phases

    def _items(self, layout: Layout) -> Iterable[Phase | AttentionSlot]:
        """Return what is in a layout, one phase for each device and category where layers are folded."""
        if len(layout) == 1:
            return layout[0].items
        items = self._merged.get(layout)
        if items is None:
            items = self._merged[layout] = tuple(_merge(chain.from_iterable(part.items for part in layout)))
        return items

    def _attend(self, slot: AttentionSlot, decode: KvLengths | None, prompts: KvLengths | None) -> Iterator[Phase]:
        roles = self._machine.roles
        if decode is not None:
            yield self._attention(slot, decode, roles.attention)
        if prompts is not None:
            yield from self._fetch(slot, prompts)
            yield self._attention(slot, prompts, roles.prefill.attention)

    def _attention(self, slot: AttentionSlot, lengths: KvLengths, device: str) -> Phase:
        kernel = lower_attention(slot.kernel, self._trace, lengths)
        pool = self._machine.pools[device]
        return computing(device, pool.count, Category.ATTENTION, kernel, pool.price(kernel), repeats=slot.repeats)

    def _fetch(self, slot: AttentionSlot, prompts: KvLengths) -> Iterator[Phase]:
        """Bring the cached part of prompts to the device that attends to it, where the caches are elsewhere."""
        roles, link = self._machine.roles, self._machine.roles.attention_link
        if link is not None and prompts.prefix_tokens and roles.prefill.attention != roles.attention:
            cached = replace(lower_attention(slot.kernel, self._trace, prompts), kv_tokens=prompts.prefix_tokens)
            yield message_phase(self._machine, link, cached.kv_bytes)._replace(repeats=slot.repeats)

    def layout(self, shape: StepShape) -> Layout:
        """Return all of a step but its attention."""
        if not self.fold:
            return Layout((self._part(shape, lambda: self._step(shape).unfolded()),))
        body = self._part(self._body_key(shape), lambda: _merge(self._step(shape, heads=False).folded()))
        if not (shape.logit_rows and self._heads):
            return Layout((body,))
        key = (shape.logit_rows, *self._devices(shape, self._heads, shape.logit_rows))
        return Layout((body, self._part(key, lambda: _merge(self._step(shape, heads=True).folded()))))

    def _step(self, shape: StepShape, *, heads: bool | None = None) -> _Step:
        return _Step(self._trace, self._machine, self.place, self._seed, shape, heads, self._alike)

    def _lowered(self, kernels: Iterable[TraceKernel], shape: StepShape) -> list[Linear]:
        lowered = (lower(kernel, self._trace, shape) for kernel in kernels)
        return [kernel for kernel in lowered if isinstance(kernel, Linear)]

    def _body_key(self, shape: StepShape) -> Hashable:
        """Return what a step's kernels depend on, those of the LM head aside; so few steps need to be laid out anew."""
        roles = self._machine.roles
        remote = roles.attention_link is not None and roles.prefill.attention != roles.attention
        # how many rows an expert gets, and so where it is placed, depends on the rows; who decides may look at RLP
        where = shape.rlp if self._has_experts else self._devices(shape, self._placed, shape.rows)
        prompt_rows = shape.prompt_rows if remote else shape.is_prefill
        return shape.rows, shape.layers, shape.logit_rows > 0, prompt_rows, where

    def _devices(self, shape: StepShape, kernels: list[TraceKernel], own_rows: int) -> tuple[str, ...]:
        """Return where FC kernels of so many token-rows are placed."""
        if shape.is_prefill:
            return (self._machine.roles.prefill.fc,)
        if len(self._candidates) == 1:
            return self._candidates
        key = shape.rlp, shape.rows, own_rows, kernels is self._heads
        devices = self._where.get(key)
        if devices is None:
            if len(self._where) >= _PARTS_KEPT:
                self._where.clear()
            lowered = self._lowered(kernels, shape)
            devices = self._where[key] = tuple(self.place(kernel, shape.rlp, shape.rows) for kernel in lowered)
        return devices

    def _forget(self) -> None:
        """Keep a run of months from filling the memory with the shapes of its steps."""
        if len(self._parts) >= _PARTS_KEPT:
            self._parts.clear()
            self._merged.clear()

    def _part(self, key: Hashable, items: Callable[[], Iterable[Phase | AttentionSlot]]) -> Part:
        part = self._parts.get(key)
        if part is None:
            self._forget()
            part = self._parts[key] = Part(items())
        return part


@dataclass(frozen=True)
class _Step:
    """One step whose every phase but attention can be priced.

    Attributes:
        trace: the model.
        machine: the hardware.
        place: tells the device of an FC kernel, given RLP and the rows in flight.
        seed: of the experts' router.
        shape: of the step.
        heads: whether the kernels of the LM head are meant, or all others; None for both.
        alike: by the identity of a kernel, the number of the kind of kernels that cost the same as it.
    """

    trace: KernelTrace
    machine: Machine
    place: Callable[[Linear, int, int], str]
    seed: int
    shape: StepShape
    heads: bool | None
    alike: Mapping[int, int]
    _priced: dict[tuple[int, int], Phase] = field(default_factory=dict)

    def folded(self) -> Iterator[Phase | AttentionSlot]:
        """Yield the phases with those of a block's layers multiplied."""
        for block, layers in self._blocks():
            yield from self._block(block, layers)

    def unfolded(self) -> Iterator[Phase | AttentionSlot]:
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

    def _block(self, block: Block, layers: range) -> Iterator[Phase | AttentionSlot]:
        experts: list[TraceKernel] = []
        for kernel in block.kernels:
            if self.heads is not None and _is_head(kernel) != self.heads:
                continue
            if kernel.per_expert:
                experts.append(kernel)
                continue
            yield from self._experts(experts, layers)
            experts = []
            for item in self._kernel(kernel, block):
                yield item._replace(repeats=len(layers))
        yield from self._experts(experts, layers)

    def _kernel(self, kernel: TraceKernel, block: Block) -> Iterator[Phase | AttentionSlot]:
        if kernel.kernel_class is KernelClass.ATTENTION:
            yield AttentionSlot(kernel)
            yield from self._context_back(block)
        elif kernel.kernel_class is KernelClass.KV_APPEND:
            yield from self._append(kernel, block)
        else:
            phase = self._local(kernel)
            yield phase
            if kernel.role in ROW_PARALLEL:
                yield from self._all_reduce(kernel, phase.resource)

    def _local(self, kernel: TraceKernel, expert_rows: int = 0) -> Phase:
        key = self.alike[id(kernel)], expert_rows
        phase = self._priced.get(key)
        if phase is None:
            lowered = lower(kernel, self.trace, self.shape, expert_rows)
            if isinstance(lowered, Linear):
                phase = self._compute(self._place(lowered), Category.FC, lowered)
            else:
                phase = self._compute(self.machine.roles.elementwise, Category.OTHER, lowered)
            self._priced[key] = phase
        return phase

    def _compute(self, device: str, category: Category, kernel: Kernel) -> Phase:
        return computing(
            device, self.machine.pools[device].count, category, kernel, self.machine.price(device, kernel)
        )

    def _place(self, kernel: Linear) -> str:
        roles = self.machine.roles
        if self.shape.is_prefill:
            return roles.prefill.fc
        return self.place(kernel, self.shape.rlp, self.shape.rows)

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
                phase = self._local(kernel, rows)
                device = phase.resource
                yield phase._replace(repeats=count)
        for kernel in kernels:
            if kernel.role is FcRole.FEED_FORWARD_DOWN:
                yield from (phase._replace(repeats=len(layers)) for phase in self._all_reduce(kernel, device))

    def _all_reduce(self, kernel: TraceKernel, device: str) -> Iterator[Phase]:
        """Sum the partial outputs of a row-parallel kernel; experts' outputs are first combined on each rank."""
        parallel = self.machine.roles.tensor_parallel
        if parallel.reduced is not None and device not in parallel.reduced:
            return
        if parallel.ranks > 1 and kernel.fc is not None:
            payload = self.shape.rows * kernel.fc.n * self.trace.model.element_bytes
            cost = self.machine.all_reduce(payload)
            yield _sending(self.machine, parallel.link, Message(payload, parallel.ranks), cost)

    def _append(self, kernel: TraceKernel, block: Block) -> Iterator[Phase]:
        """Send the new K and V, and when decoding Q with them, to where the cache is, and write them there."""
        lowered = lower(kernel, self.trace, self.shape)
        roles = self.machine.roles
        if roles.attention_link is not None:
            yield message_phase(self.machine, roles.attention_link, lowered.write_bytes + self._query_bytes(block))
        yield self._compute(roles.kv, Category.ATTENTION, lowered)

    def _query_bytes(self, block: Block) -> int:
        """Bytes of Q, and of the context, which has the same shape, of the rows whose attention is where the cache is.

        A GPU attends to a prompt itself, since it has just computed it.
        """
        roles, shape = self.machine.roles, self.shape
        at_home = shape.prompt_rows if roles.prefill.attention != roles.attention else 0
        heads = next(kernel.attention for kernel in block.kernels if kernel.attention is not None)
        return (shape.rows - at_home) * heads.n_heads * heads.head_dim * self.trace.model.element_bytes

    def _context_back(self, block: Block) -> Iterator[Phase]:
        link, payload = self.machine.roles.attention_link, self._query_bytes(block)
        if link is not None and payload:
            yield message_phase(self.machine, link, payload)


def _slots(layout: Layout) -> Iterator[AttentionSlot]:
    return chain.from_iterable(part.slots for part in layout)


def _alike(kernels: Iterable[TraceKernel]) -> dict[int, int]:
    """Return, by the identity of each kernel, the number of the kind of kernels that cost the same as it at any shape."""
    kinds: dict[Hashable, int] = {}
    return {
        id(kernel): kinds.setdefault(
            (kernel.kernel_class, kernel.role, kernel.fc, kernel.flop, kernel.read_bytes, kernel.write_bytes),
            len(kinds),
        )
        for kernel in kernels
    }


def _is_head(kernel: TraceKernel) -> bool:
    return kernel.role is FcRole.LM_HEAD


def computing(device: str, units: int, category: Category, kernel: Kernel, cost: Cost, *, repeats: int = 1) -> Phase:
    """Return the phase in which so many units of a device compute one kernel."""
    work = (Work(kernel, units, cost.time_s, cost.bound),)
    return Phase(device, category, cost.time_s, cost.energy, kernel.flop, repeats, work)


def message_phase(machine: Machine, link: str, payload_bytes: float) -> Phase:
    """Return the phase in which a payload goes over a link."""
    return _sending(machine, link, Message(payload_bytes), machine.links[link].transfer(payload_bytes))


def _sending(machine: Machine, link: str, message: Message, cost: Cost) -> Phase:
    work = Work(message, machine.links[link].count, cost.time_s, cost.bound)
    return Phase(link, Category.COMMUNICATION, cost.time_s, cost.energy, work=(work,))


def _merge(items: Iterable[Phase | AttentionSlot]) -> Iterator[Phase | AttentionSlot]:
    """Add up the phases of a step by resource and category: with one batch in flight their order does not matter."""
    sums, work = Sums(), defaultdict[Key, list[Work]](list)
    slots: dict[AttentionShape | None, AttentionSlot] = {}
    for item in items:
        if isinstance(item, AttentionSlot):
            known = slots.get(item.kernel.attention)
            slots[item.kernel.attention] = (
                item if known is None else item._replace(repeats=item.repeats + known.repeats)
            )
            continue
        sums.add(item)
        work[item.resource, item.category] += [
            each if item.repeats == 1 else each._replace(times=each.times * item.repeats) for each in item.work
        ]
    for key, row in sums.rows.items():
        time_s, flop, *energy = row.tolist()
        yield Phase(*key, time_s, Energy(*energy), flop, work=tuple(work[key]))
    yield from slots.values()
