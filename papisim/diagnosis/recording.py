"""The priced work of a run: every kernel and message, the number of times it ran, and its time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from papisim.arrays import Floats, Ints
from papisim.diagnosis.scope import Scope
from papisim.ops.cost import Cost
from papisim.ops.kernel import Attention, Kernel
from papisim.plan.machine import Machine
from papisim.plan.phase import Message, Phase, Work
from papisim.record.steps import StepRow

#: predicate of kernels and messages
Sees = Callable[["Kernel | Message"], bool]


class Row(NamedTuple):
    """Time of a run by what it was spent on.

    Attributes:
        step: ``prefill`` or ``decode``.
        resource: device or link.
        work: class of the kernels, ``message`` or ``all_reduce`` on a link, ``host`` for work that no device does.
        bound: what limited the kernels.
        time_s: their total time.
    """

    step: str
    resource: str
    work: str
    bound: str
    time_s: float


class Item(NamedTuple):
    """A kernel or message that was priced, its resource, and the number of units of the resource that shared it."""

    resource: str
    what: Kernel | Message
    units: int


@dataclass
class Recording:
    """A probe (:class:`papisim.engine.probe.Probe`) that adds up the priced work of a run.

    Attributes:
        scope: the steps that are recorded.
        times: number of times that each item ran; not whole where a draft source scales a price.
        time_by: seconds by (step, resource, work, bound).
    """

    scope: Scope = Scope.RUN
    times: dict[Item, float] = field(default_factory=lambda: defaultdict(float))
    time_by: dict[tuple[str, str, str, str], float] = field(default_factory=lambda: defaultdict(float))

    def layers(self, server: str, start_s: float, iteration: int) -> bool:
        """Ask for no step layer by layer: sums suffice."""
        del server, start_s, iteration
        return False

    def phase(self, server: str, start_s: float, step: StepRow, phase: Phase) -> None:
        """Add a phase."""
        del server, start_s
        if not self.scope.holds(step):
            return
        priced_s = sum(work.time_s * work.times for work in phase.work)
        if not priced_s:
            self.time_by[step.kind, phase.resource, "host", "fixed"] += phase.total_s
            return
        scale = phase.repeats * phase.time_s / priced_s
        for work in phase.work:
            times = work.times * scale
            self.times[Item(phase.resource, work.item, work.units)] += times
            self.time_by[step.kind, phase.resource, _class(work), work.bound] += times * work.time_s

    def step(self, server: str, step: StepRow) -> None:
        """Ignore the step: its phases have been recorded."""

    @property
    def time_s(self) -> float:
        """Seconds of all phases."""
        return sum(self.time_by.values())

    def rows(self) -> list[Row]:
        """Return the time by what it was spent on, most first."""
        rows = [Row(*key, time_s) for key, time_s in self.time_by.items() if time_s]
        return sorted(rows, key=lambda row: -row.time_s)


def _class(work: Work) -> str:
    if isinstance(work.item, Message):
        return work.item.exchange.value
    return work.item.kernel_class.value


@dataclass(frozen=True)
class Variant:
    """A change of one resource: another part, another count, other ranks; None where nothing changes."""

    part: object = None
    count: int | None = None
    ranks: int | None = None


AS_IT_IS = Variant()


class Repricing:
    """Prices a recording's work again on hardware that differs in one resource, with all work where it ran.

    Args:
        recording: the work.
        machine: the hardware that it ran on.
    """

    def __init__(self, recording: Recording, machine: Machine) -> None:
        self._machine = machine
        self._work: dict[str, list[_Caches | _Alone]] = defaultdict(list)
        caches: dict[tuple[str, Attention, int], list[tuple[Attention, float]]] = defaultdict(list)
        for item, times in recording.times.items():
            if isinstance(item.what, Attention) and _is_regular(item.what):
                like = replace(item.what, kv_tokens=0, longest_kv=0, pairs=0)
                caches[item.resource, like, item.units].append((item.what, times))
            else:
                self._work[item.resource].append(_Alone(item.what, item.units, times))
        for (resource, _, units), kernels in caches.items():
            self._work[resource].append(_Caches.of(kernels, units))
        self._as_it_is_s = {name: self.resource_s(name, AS_IT_IS) for name in self._work}

    @property
    def resources(self) -> list[str]:
        """Devices and links that did work."""
        return list(self._work)

    def unit(self, resource: str) -> Any:
        """Return a pool or a group of links as the machine has it."""
        return self._machine.pools.get(resource) or self._machine.links[resource]

    @property
    def ranks(self) -> int:
        """Tensor-parallel ranks of the machine."""
        return self._machine.roles.tensor_parallel.ranks

    def added_s(self, resource: str, variant: Variant, of: Sees | None = None) -> float:
        """Return the additional seconds of the run.

        Args:
            resource: device or link.
            variant: the change of the resource.
            of: predicate of the work that may depend on the change, so that no other is priced; None for all work.
        """
        as_it_is_s = self._as_it_is_s[resource] if of is None else self.resource_s(resource, AS_IT_IS, of)
        added_s = self.resource_s(resource, variant, of) - as_it_is_s
        link = self._machine.roles.tensor_parallel.link
        if variant.count is not None and self.is_ranks(resource) and link in self._work:
            added_s += self.added_s(link, Variant(ranks=variant.count))
        return added_s

    def is_ranks(self, resource: str) -> bool:
        """Tell whether the units of a resource are the ranks of tensor parallelism, so that another number is other ranks."""
        pool = self._machine.pools.get(resource)
        return pool is not None and pool.part.is_rank and pool.count == self.ranks

    def resource_s(self, resource: str, variant: Variant, of: Sees | None = None) -> float:
        """Return the seconds of the work on one resource, or of the work that satisfies ``of``."""
        there = self.unit(resource)
        part = there.part if variant.part is None else variant.part
        units: dict[int, Any] = {}
        total = 0.0
        for work in self._work[resource]:
            if of is not None and not of(work.what):
                continue
            # work on some of the devices alone, such as a draft model's, stays on that number
            count = variant.count if variant.count is not None and work.units == there.count else work.units
            if count not in units:
                units[count] = type(there)(resource, part, count)
            total += work.time_s(units[count], self._ranks_of(work.what, variant))
        return total

    def _ranks_of(self, what: Kernel | Message, variant: Variant) -> int:
        """Return the number of ranks that a message is summed over; a draft model with fewer ranks than the machine keeps them."""
        if not isinstance(what, Message):
            return 1
        return variant.ranks if variant.ranks is not None and what.ranks == self.ranks else what.ranks


@dataclass(frozen=True)
class _Alone:
    """One kernel or message, run a number of times."""

    what: Kernel | Message
    units: int
    times: float

    def time_s(self, unit: Any, ranks: int) -> float:
        """Return the total seconds on a pool or a group of links."""
        what = self.what
        cost: Cost = what.price(unit, ranks) if isinstance(what, Message) else unit.price(what)
        return self.times * cost.time_s


@dataclass(frozen=True)
class _Caches:
    """Attention kernels that differ in the lengths of their caches alone; priced at once.

    Attributes:
        what: one of the kernels.
        units: devices that share it.
        kv_tokens, longest_kv: lengths of the caches, shape (n,).
        times: number of times that each runs, shape (n,).
    """

    what: Attention
    units: int
    kv_tokens: Ints
    longest_kv: Ints
    times: Floats

    @classmethod
    def of(cls, kernels: Sequence[tuple[Attention, float]], units: int) -> _Caches:
        """Combine kernels that differ in their caches alone, each with the number of times that it runs."""
        return cls(
            kernels[0][0],
            units,
            np.array([kernel.kv_tokens for kernel, _ in kernels], dtype=np.int64),
            np.array([kernel.longest_kv for kernel, _ in kernels], dtype=np.int64),
            np.array([times for _, times in kernels]),
        )

    def time_s(self, unit: Any, ranks: int) -> float:
        """Return the seconds of all on a pool."""
        del ranks
        return float(self.times @ unit.price_caches(self.what, self.kv_tokens, self.longest_kv).time_s)


def _is_regular(kernel: Attention) -> bool:
    """Tell whether every request has the same number of query tokens and each of these sees the whole cache."""
    tlp, rest = divmod(kernel.query_tokens, kernel.n_requests)
    return not rest and kernel.pairs == tlp * kernel.kv_tokens
