"""The contract of every device kind.

A device kind is one module (or package) of :mod:`papisim.devices` with three names:

``Part``
    a :class:`DevicePart` with the numbers of one device, read from ``hwconfigs/devices/*.yaml``;
``Pool``
    a :class:`DevicePool`: ``count`` identical devices that work together on every kernel, and the cost of a kernel on
    them;
``EXAMPLE``
    a :class:`papisim.kinds.Example` of the part's fields.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self, TextIO

import numpy as np
from pydantic import Field

from papisim.arrays import Bools, Floats, Ints
from papisim.catalog import Shelf
from papisim.config.base import KindOptions, NonNegative, Positive, Spec
from papisim.errors import InputError, NotModelled
from papisim.kinds.family import Family
from papisim.ops.caches import AttentionOverCaches, tokens_per_request
from papisim.ops.cost import ENERGY_PARTS, Cost, Energy
from papisim.ops.kernel import Attention, Elementwise, FcRole, Kernel, KernelClass, Linear

#: fields of parts that no price depends on
_NO_COST = {"description", "measured_on"}


class Charge(Spec):
    """Time charged for a streaming kernel: ``fixed + bytes / rate``.

    Attributes:
        fixed_s: time independent of the size, mostly the launch.
        bytes_per_s: rate of reads and writes; None if the size does not matter.
    """

    fixed_s: NonNegative
    bytes_per_s: Positive | None = None


class DevicePart(KindOptions):
    """Fields of every device part, independent of its kind.

    Attributes:
        description: description in words.
        capacity_bytes: memory of one device.
        static_w: power of one device with or without work.
        charged: times of elementwise kernels by class, in place of the device's own model: what another simulator
            charges, or the time a host needs to launch them. Their energy follows from the device's own energy model.
        is_rank: whether each device is a rank of tensor parallelism, with partial sums of its own.
    """

    is_rank: ClassVar[bool] = True

    description: str
    capacity_bytes: NonNegative
    static_w: NonNegative
    charged: dict[KernelClass, Charge] = Field(default_factory=dict)

    def charged_s(self, kernel: Elementwise) -> float | None:
        """Return the seconds that an elementwise kernel is charged; None if the device's own model applies."""
        charge = self.charged.get(kernel.kernel_class)
        if charge is None:
            return None
        moved_bytes = kernel.read_bytes + kernel.write_bytes
        return charge.fixed_s + (moved_bytes / charge.bytes_per_s if charge.bytes_per_s else 0.0)

    @property
    def refresh_w(self) -> float | None:
        """Share of the static power that refreshing DRAM takes; None where it is not known."""
        return None

    @property
    def budget_w(self) -> float | None:
        """Power that one device may draw for work; None where it is not known."""
        return None

    @property
    def die_area_mm2(self) -> float | None:
        """Area of one die's memory and arithmetic; None where it is not known."""
        return None

    @property
    def area_mm2(self) -> float | None:
        """Area of all dies of one device; None where it is not known."""
        return None

    @property
    def unit_areas(self) -> Sequence[tuple[str, float, float | None, float | None]]:
        """Arithmetic units by where they sit: place, number, mm² of one, and process node in nm; empty where they are not known."""
        return ()

    @property
    def energy_source(self) -> str | None:
        """The energy model or table in use; None for a kind that has but one."""
        return None

    def decisive(self) -> dict[str, object]:
        """Return the fields that prices depend on, those left at their defaults aside, as JSON."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude=_NO_COST)


class OutsideFit(NamedTuple):
    """A stretch of successive kernels whose prices lie outside the range of the fit that they rest on.

    Attributes:
        start: the first of them.
        stop: the one after the last.
        reason: which size or property lies outside.
    """

    start: int
    stop: int
    reason: str


@dataclass(frozen=True)
class AttentionRun:
    """Costs of one attention kernel over caches of ``n`` lengths, such as those of ``n`` decoding iterations.

    Attributes:
        time_s: seconds of each, shape (n,).
        energy_j: joules of each by part, static energy excluded, shape (parts, n); parts in the order of
            :data:`papisim.ops.cost.ENERGY_PARTS`.
        outside: the stretches of caches whose prices lie outside a fit.
    """

    time_s: Floats
    energy_j: Floats
    outside: tuple[OutsideFit, ...] = ()

    @classmethod
    def of(cls, time_s: Floats, energy: Energy) -> AttentionRun:
        """Return a run from an energy whose parts are numbers or arrays of shape (n,)."""
        energy_j = np.zeros((len(ENERGY_PARTS), len(time_s)))
        for row, (_, part_j) in zip(energy_j, energy.items(), strict=True):
            if not isinstance(part_j, float) or part_j:
                row[:] = part_j
        return cls(time_s, energy_j)

    @classmethod
    def of_costs(cls, costs: list[Cost]) -> AttentionRun:
        """Return a run from the cost of each kernel."""
        energies = [list(cost.energy) for cost in costs]
        return cls(np.array([cost.time_s for cost in costs]), np.array(energies).reshape(-1, len(ENERGY_PARTS)).T)

    def first(self, n: int) -> AttentionRun:
        """Return the costs over the first ``n`` caches."""
        return AttentionRun(self.time_s[:n], self.energy_j[:, :n], self.outside)

    def scaled(self, time: float, energy: float) -> AttentionRun:
        """Return the costs with all times and all energies multiplied."""
        return AttentionRun(self.time_s * time, self.energy_j * energy, self.outside)


def runs_together(runs: list[tuple[AttentionRun, int]]) -> AttentionRun:
    """Return the costs of attention that groups of devices compute at the same time, each with its number of groups.

    The slowest group sets each time, which lies outside a fit where that group's does; energy is that of all groups.
    """
    (first, n), *others = runs
    if n == 1 and not others:
        return first
    times_s = np.array([run.time_s for run, _ in runs])
    energy_j = np.sum([run.energy_j * count for run, count in runs], axis=0)
    slowest = times_s.argmax(axis=0)
    outside = [each for at, (run, _) in enumerate(runs) for each in _where(slowest == at, run.outside)]
    return AttentionRun(times_s.max(axis=0), energy_j, tuple(outside))


def _where(mask: Bools, stretches: Iterable[OutsideFit]) -> Iterator[OutsideFit]:
    """Yield the parts of stretches in which a mask, shape (n,), is true."""
    for start, stop, reason in stretches:
        edges = np.flatnonzero(np.diff(mask[start:stop], prepend=False, append=False)) + start
        yield from (OutsideFit(int(begin), int(end), reason) for begin, end in edges.reshape(-1, 2))


class DevicePool(ABC):
    """``count`` identical devices that share every kernel among them.

    A device kind derives from this class and

    - must define :meth:`price`, a pure function: the cost depends on the pool and the kernel alone, static energy is left
      out, and a kernel that the device cannot run raises :class:`~papisim.errors.NotModelled`;
    - may override every other member. The defaults follow from :meth:`price` and the part; they are right for every
      kind, and slow. :meth:`price_caches` and :meth:`price_growing` decide how fast a simulation is: a version for arrays
      must return what the default returns;
    - keeps the constructor's parameters and calls this class's constructor;
    - must not change ``name``, ``part`` or ``count`` after construction.

    Attributes:
        name: name of the group of devices in the system.
        part: numbers of one device.
        count: number of devices.
    """

    name: str
    part: Any  # of the kind's own class, which callers of one kind rely on
    count: int

    def __init__(self, name: str, part: DevicePart, count: int) -> None:
        self.name, self.part, self.count = name, part, count

    @property
    def capacity_bytes(self) -> float:
        """Memory of the whole pool."""
        return self.count * float(self.part.capacity_bytes)

    @property
    def static_w(self) -> float:
        """Power that the whole pool draws with or without work."""
        return self.count * float(self.part.static_w)

    @property
    def peak_flop_per_s(self) -> float:
        """Peak arithmetic of the whole pool; by default, the highest rate among large kernels.

        Raises:
            NotModelled: the kind prices neither FC kernels nor attention.
        """
        return self._highest_rate(lambda kernel: kernel.flop)

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Peak bandwidth of the memory that the pool computes from; by default, the highest rate among large kernels.

        Raises:
            NotModelled: the kind prices neither FC kernels nor attention.
        """
        return self._highest_rate(lambda kernel: kernel.read_bytes + kernel.write_bytes)

    def _highest_rate(self, size: Callable[[Kernel], float]) -> float:
        rates = []
        for kernel in _LARGE_KERNELS:
            try:
                rates.append(size(kernel) / self.price(kernel).time_s)
            except NotModelled:
                continue
        if not rates:
            raise NotModelled(f"peaks of {self.name}, whose kind prices neither FC kernels nor attention")
        return max(rates)

    @abstractmethod
    def price(self, kernel: Kernel) -> Cost:
        """Return the time and energy of one kernel shared among all devices of the pool.

        Raises:
            NotModelled: this kind of device does not run this kind of kernel.
        """

    def price_caches(self, kernel: Attention, kv_tokens: Ints, longest_kv: Ints) -> AttentionRun:
        """Return the costs of a decoding kernel over caches of many lengths.

        Args:
            kernel: decoding attention with equally many query tokens in each request; its own cache lengths are not used.
            kv_tokens: cached tokens of all requests, the new ones included, shape (n,).
            longest_kv: tokens of the longest cache, shape (n,).

        Raises:
            ValueError: requests have different numbers of query tokens.
            NotModelled: as :meth:`price`.
        """
        return AttentionRun.of_costs([self.price(one) for one in AttentionOverCaches(kernel, kv_tokens, longest_kv)])

    def price_growing(self, kernel: Attention, n: int) -> AttentionRun:
        """Return the costs of ``n`` successive decoding iterations, between which every cache grows by its query tokens.

        Args:
            kernel: attention of the first iteration; equally many query tokens in each request.
            n: number of iterations.

        Raises:
            ValueError: requests have different numbers of query tokens.
            NotModelled: as :meth:`price`.
        """
        grown = AttentionOverCaches.growing(kernel, n)
        return self.price_caches(kernel, grown.kv_tokens, grown.longest_kv)

    def outside(self, kernel: Kernel) -> str | None:
        """Return the limit, in words, that a kernel passes of the fit that its price rests on; None inside, or without a fit.

        Sizes are named with the limit that they pass, so that there are few reasons; each holds for a stretch of cache lengths.
        """
        del kernel
        return None

    def quantises(self, kernel: Linear) -> bool:
        """Return whether the inputs of an FC kernel are narrowed by a kernel before it; False where it takes them as they come."""
        del kernel
        return False

    def outside_caches(self, kernel: Attention, kv_tokens: Ints, longest_kv: Ints) -> tuple[OutsideFit, ...]:
        """Return the stretches of caches outside the fit, as :meth:`price_caches` prices them; no cache is shorter than the last."""
        if type(self).outside is DevicePool.outside:
            return ()
        tlp = tokens_per_request(kernel)

        def reason(at: int) -> str | None:
            tokens, longest = int(kv_tokens[at]), int(longest_kv[at])
            return self.outside(replace(kernel, kv_tokens=tokens, longest_kv=longest, pairs=tlp * tokens))

        return tuple(_stretches(reason, 0, len(kv_tokens)))

    def outside_growing(self, kernel: Attention, n: int) -> tuple[OutsideFit, ...]:
        """Return the stretches outside the fit of ``n`` successive decoding iterations, as :meth:`price_growing` prices them."""
        if type(self).outside is DevicePool.outside:
            return ()
        grown = AttentionOverCaches.growing(kernel, n)
        return self.outside_caches(kernel, grown.kv_tokens, grown.longest_kv)

    def computed_flop(self, kernel: Linear) -> float:
        """Return the operations of all devices for an FC kernel, padding included; by default the kernel's own."""
        return kernel.flop

    def kv_imbalance(self, n_heads: int, n_kv_heads: int, n_layers: int, n_requests: int | None = None) -> float:
        """Return the bytes of KV caches on the fullest device over those on a mean one, copies included: at least 1.

        The fullest device limits the room: a pool holds its free bytes over this ratio, each cache counted once. By
        default caches are spread evenly, byte by byte.

        Args:
            n_heads: query heads.
            n_kv_heads: heads of the cache.
            n_layers: layers whose caches the pool holds.
            n_requests: requests with caches of one length; None for very many.
        """
        del n_heads, n_kv_heads, n_layers, n_requests
        return 1.0

    def explain(self, kernel: Kernel) -> dict[str, object]:
        """Return further facts about a kernel's price, by the names under which ``papisim price`` shows them."""
        del kernel
        return {}

    def metered(self, cost: Cost) -> Energy:
        """Return the energy that a meter of the whole pool would count while a kernel runs.

        By default that is the kernel's own energy. A kind whose energy model is fitted to a meter that counts idle power
        adds the static energy.
        """
        return cost.energy

    @property
    def is_power_limited(self) -> bool:
        """Whether a power limit may lengthen work (:meth:`slowed`)."""
        return False

    def slowed(self, time_s: float, energy: Energy, *, idle_s: float = 0.0) -> tuple[float, Energy]:
        """Return by how many seconds a power limit lengthens work, and how it changes its energy; by default nothing is.

        Args:
            time_s: seconds of the work.
            energy: its energy on all devices, static energy excluded.
            idle_s: further seconds in which the devices wait for others.
        """
        del time_s, energy, idle_s
        return 0.0, Energy()

    def launches(self, kernel: Kernel) -> int:
        """Return the kernels that run for one kernel of a model; by default, one."""
        del kernel
        return 1

    def with_library(self, name: str) -> Self:
        """Return the pool with another kernel library.

        Raises:
            InputError: these devices have no kernel libraries, or none of that name.
        """
        raise InputError(
            f"found '{name}', but {self.name} has no kernel libraries; --library is for GPUs", field="library"
        )

    def write_commands(self, kernel: Kernel, file: TextIO, form: str = "papisim") -> tuple[int, int]:
        """Write the DRAM commands of a kernel; return the number of commands and the cycle at which they end.

        Args:
            kernel: the kernel.
            file: file to write to.
            form: format: ``papisim``, or that of another simulator.

        Raises:
            NotModelled: these devices have no command stream.
        """
        raise NotModelled(f"{self.name} has no DRAM command stream; --commands is for PIM stacks")


def _stretches(reason: Callable[[int], str | None], start: int, stop: int) -> Iterator[OutsideFit]:
    """Yield the stretches outside a fit; where both ends have one reason, all between have it."""
    first, last = reason(start), reason(stop - 1)
    if first == last:
        if first is not None:
            yield OutsideFit(start, stop, first)
        return
    middle = (start + stop) // 2
    yield from _stretches(reason, start, middle)
    yield from _stretches(reason, middle, stop)


_LARGE = 1 << 14
#: kernels so large that their rates are a device's highest: a GEMV, a square matrix product, decoding attention
_LARGE_KERNELS: tuple[Kernel, ...] = (
    Linear(FcRole.QKV, 1, _LARGE, _LARGE),
    Linear(FcRole.QKV, _LARGE, _LARGE, _LARGE),
    Attention(64, 64, 64 * _LARGE, _LARGE, 64 * _LARGE, 128, 128, 128),
)


DEVICE: Family[DevicePart, DevicePool] = Family(
    name="device",
    noun="device kind",
    plural="device kinds",
    package="papisim.devices",
    thing="Pool",
    base=DevicePart,
    contract=DevicePool,
    arguments=("name", "part", "count"),
    options="Part",
    shelf=Shelf.DEVICE,
    schema="papisim/device/1",
)
