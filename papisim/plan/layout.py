"""The layout of a step: its phases but attention, in parts that steps of equal keys share.

A part is laid out from its key and from nothing else: :mod:`papisim.plan.kernels` gets a :class:`BodyKey` or a
:class:`HeadKey` and never sees the step. Whatever a part depends on is therefore a field of its key, and steps whose keys are
equal have equal parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from papisim.ops.cost import Energy
from papisim.ops.trace_kernels import AttentionShape, TraceKernel
from papisim.plan.phase import Category, Phase, Work
from papisim.plan.sums import Sums
from papisim.policies.placement.base import Operator

#: parts of steps that are remembered, or counted, one by one
PARTS_KEPT = 20_000
#: what phases have in common that are added up: device or link, category, and operator
_Alike = tuple[str, Category, Operator | None]


class BodyKey(NamedTuple):
    """All that a step's kernels depend on, those of attention and of the LM head aside.

    Attributes:
        rows: token-rows that every kernel sees, those included to which a captured graph pads them.
        appended_rows: token-rows whose K and V are written.
        layers: the layers that run, from first to before last; None for all.
        wants_logits: whether the blocks after the layers run.
        query_rows: token-rows whose attention is computed where the caches are unless it is placed elsewhere; Q and context of
            these rows cross the link.
        devices: device of each FC kernel class but the experts', in the order of :attr:`ModelKernels.body_fc`.
        expert_rlp: RLP by which the policy places experts; None if there are none, or if the prefill role places them.
        requests: requests whose states are updated; 0 in a model without states.
        drafted_rows: token-rows after each of which a state is kept; 0 in a model without states.
        drafting: requests whose drafts may choose the experts of the tokens before them; None if all rows choose for themselves.
        groups: keys of the attention groups that have rows, and the number of groups of each key; empty for one group.
        attention: device of each shape of decoding attention, in the order of :attr:`ModelKernels.attention`; empty if all are
            at home.
        decoding_rows: rows of ``query_rows`` of requests that decode, where attention of some of them may be elsewhere.
        experts: device of each FC kernel class of experts, in the order of :attr:`ModelKernels.expert_fc`, where they are held; empty
            if the policy places them.
    """

    rows: int
    appended_rows: int
    layers: tuple[int, int] | None
    wants_logits: bool
    query_rows: int
    devices: tuple[str, ...]
    expert_rlp: int | None
    requests: int = 0
    drafted_rows: int = 0
    drafting: int | None = None
    groups: tuple[tuple[BodyKey, int], ...] = ()
    attention: tuple[str, ...] = ()
    decoding_rows: int = 0
    experts: tuple[str, ...] = ()


class HeadKey(NamedTuple):
    """All that the kernels of the LM head depend on.

    Attributes:
        rows: token-rows whose logits are computed.
        devices: device of each FC kernel class, in the order of :attr:`ModelKernels.head_fc`.
        groups: the rows of attention groups that have any, and the number of groups; empty for one group.
    """

    rows: int
    devices: tuple[str, ...]
    groups: tuple[tuple[int, int], ...] = ()

    @property
    def each(self) -> tuple[tuple[int, int], ...]:
        """The rows of attention groups and the number of groups, also where there is one."""
        return self.groups or ((self.rows, 1),)


class StepKey(NamedTuple):
    """The keys of a step's two sections; no head where no logits are wanted."""

    body: BodyKey
    head: HeadKey | None


class AttentionSlot(NamedTuple):
    """The place of attention in a layer; its cost changes with every step, the cost of the layer's other kernels does not.

    Attributes:
        kernel: the kernel.
        device: the device that attends to the caches of requests that decode.
        repeats: layers in a row.
    """

    kernel: TraceKernel
    device: str
    repeats: int = 1

    @property
    def shape(self) -> AttentionShape:
        """The heads and the cache of the attention."""
        assert self.kernel.attention is not None, "of an attention kernel"
        return self.kernel.attention


class StepPart:
    """Phases that steps have in common, and the attention slots between them.

    Attributes:
        items: phases and attention slots, in the order they run.
        slots: the attention slots among the items.
        sums: sums of the phases among the items.
        time_s: seconds of those phases.
        fc_devices: devices that run FC kernels.
    """

    __slots__ = ("_n_kernels", "fc_devices", "items", "slots", "sums", "time_s")

    def __init__(self, items: Iterable[Phase | AttentionSlot]) -> None:
        self._n_kernels: int | None = None
        self.items = tuple(items)
        self.slots = tuple(item for item in self.items if isinstance(item, AttentionSlot))
        self.sums = Sums(item for item in self.items if isinstance(item, Phase))
        self.time_s = self.sums.time_s
        self.fc_devices = tuple(self.sums.fc_flop_by)

    @property
    def n_kernels(self) -> int:
        """Kernels and messages launched, those of attention slots aside."""
        if self._n_kernels is None:
            self._n_kernels = sum(item.n_kernels for item in self.items if isinstance(item, Phase))
        return self._n_kernels


class StepLayout:
    """The phases of a step but its attention: whatever does not depend on the lengths of caches.

    Attributes:
        parts: parts that the step shares with others.
        slots: the attention slots of all parts.
        time_s: seconds of all phases.
    """

    __slots__ = ("_items", "parts", "slots", "time_s")

    def __init__(self, parts: Iterable[StepPart] = ()) -> None:
        self.parts = tuple(parts)
        self.slots = tuple(slot for part in self.parts for slot in part.slots)
        self.time_s = sum(part.time_s for part in self.parts)
        self._items: tuple[Phase | AttentionSlot, ...] | None = None

    @property
    def n_kernels(self) -> int:
        """Kernels and messages launched, attention aside."""
        return sum(part.n_kernels for part in self.parts)

    @property
    def n_attention(self) -> int:
        """Attention kernels launched."""
        return sum(slot.repeats for slot in self.slots)

    @property
    def items(self) -> tuple[Phase | AttentionSlot, ...]:
        """Phases and attention slots, those of several parts merged by resource and category."""
        if self._items is None:
            one = len(self.parts) == 1
            self._items = self.parts[0].items if one else tuple(merge(i for part in self.parts for i in part.items))
        return self._items


def merge(items: Iterable[Phase | AttentionSlot]) -> Iterator[Phase | AttentionSlot]:
    """Add up the phases of a step by resource, category and operator: with one batch in flight their order does not matter."""
    sums, work = defaultdict[_Alike, Sums](Sums), defaultdict[_Alike, list[Work]](list)
    slots: dict[AttentionShape | None, AttentionSlot] = {}
    for item in items:
        if isinstance(item, AttentionSlot):
            known = slots.get(item.kernel.attention)
            slots[item.kernel.attention] = (
                item if known is None else item._replace(repeats=item.repeats + known.repeats)
            )
            continue
        alike = item.resource, item.category, item.operator
        sums[alike].add(item)
        work[alike] += [
            each if item.repeats == 1 else each._replace(times=each.times * item.repeats) for each in item.work
        ]
    for alike, own in sums.items():
        resource, category, operator = alike
        time_s, flop, *energy = own.rows[resource, category].tolist()
        yield Phase(resource, category, time_s, Energy(*energy), flop, work=tuple(work[alike]), operator=operator)
    yield from slots.values()
