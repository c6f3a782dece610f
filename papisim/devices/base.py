"""The contract of every device kind.

A device kind is one module (or package) of :mod:`papisim.devices` with two names:

``Part``
    a :class:`papisim.config.base.Spec` with the numbers of one device, read from ``hwconfigs/devices/*.yaml``;
``Pool``
    ``count`` identical devices that work together on every kernel, and what a kernel costs on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TextIO

import numpy as np
from pydantic import Field

from papisim.arrays import Floats, Ints
from papisim.catalog import Shelf
from papisim.config.base import KindOptions, NonNegative, Positive, Spec
from papisim.errors import InputError, NotModelled
from papisim.kinds.family import Family
from papisim.ops.cost import ENERGY_PARTS, Cost, Energy
from papisim.ops.kernel import Attention, Elementwise, Kernel, KernelClass


class Charge(Spec):
    """What a streaming kernel is charged: ``fixed + bytes / rate``.

    Attributes:
        fixed_s: whatever its size, its launch above all.
        bytes_per_s: rate of what it reads and writes; None where its size does not matter.
    """

    fixed_s: NonNegative
    bytes_per_s: Positive | None = None


class DevicePart(KindOptions):
    """What every device part says, whatever its kind.

    Attributes:
        description: in words.
        capacity_bytes: its memory.
        static_w: what it draws whether or not it works.
        charged: times of elementwise kernels by class, in place of the device's own model: what another simulator
            charges, or what a host takes to have them run. Their energy follows from the device's own energy model.
    """

    description: str
    capacity_bytes: NonNegative
    static_w: NonNegative
    charged: dict[KernelClass, Charge] = Field(default_factory=dict)

    def charged_s(self, kernel: Elementwise) -> float | None:
        """Return the seconds that an elementwise kernel is charged; None where the device's own model says it."""
        charge = self.charged.get(kernel.kernel_class)
        if charge is None:
            return None
        moved_bytes = kernel.read_bytes + kernel.write_bytes
        return charge.fixed_s + (moved_bytes / charge.bytes_per_s if charge.bytes_per_s else 0.0)


@dataclass(frozen=True)
class AttentionRun:
    """Costs of one attention kernel over caches of ``n`` lengths, such as those of ``n`` decoding iterations.

    Attributes:
        time_s: seconds of each, shape (n,).
        energy_j: joules of each by part, static energy excluded, shape (parts, n); parts in the order of
            :data:`papisim.ops.cost.ENERGY_PARTS`.
    """

    time_s: Floats
    energy_j: Floats

    @classmethod
    def of(cls, time_s: Floats, energy: Energy) -> AttentionRun:
        """Return a run from an energy whose parts are numbers or arrays of shape (n,)."""
        energy_j = np.zeros((len(ENERGY_PARTS), len(time_s)))
        for row, (_, part_j) in zip(energy_j, energy.items(), strict=True):
            if not isinstance(part_j, float) or part_j:
                row[:] = part_j
        return cls(time_s, energy_j)

    def first(self, n: int) -> AttentionRun:
        """Return the first ``n``."""
        return AttentionRun(self.time_s[:n], self.energy_j[:, :n])


def growing_caches(kernel: Attention, n: int) -> tuple[Ints, Ints]:
    """Return cached tokens in all and in the longest cache, over ``n`` iterations that each keep all query tokens.

    Raises:
        ValueError: requests have different numbers of query tokens, so which cache grows how is not known.
    """
    iterations = np.arange(n, dtype=np.int64)
    return (
        kernel.kv_tokens + kernel.query_tokens * iterations,
        kernel.longest_kv + tokens_per_request(kernel) * iterations,
    )


def with_caches(kernel: Attention, kv_tokens: Ints, longest_kv: Ints) -> Attention:
    """Return a kernel whose sizes are arrays: all its sums over pairs, bytes and operations are arrays, then."""
    lengths: dict[str, Any] = {"kv_tokens": kv_tokens, "longest_kv": longest_kv}
    return replace(kernel, **lengths, pairs=tokens_per_request(kernel) * lengths["kv_tokens"])


def tokens_per_request(kernel: Attention) -> int:
    """Return the query tokens of each request of a decoding kernel (TLP).

    Raises:
        ValueError: it is not the same for all, or the kernel does not score each query against its whole cache.
    """
    tlp, rest = divmod(kernel.query_tokens, kernel.n_requests)
    if rest or kernel.pairs != tlp * kernel.kv_tokens:
        raise ValueError("expected decoding attention with as many query tokens in each request")
    return tlp


class Explains:
    """What ``papisim price`` asks of a pool beside a kernel's cost: answers of a device kind that has nothing to add."""

    name: str

    def explain(self, kernel: Kernel) -> dict[str, object]:
        """Return further facts about a kernel's price, by the names under which they are shown."""
        del kernel
        return {}

    def metered(self, cost: Cost) -> Energy:
        """Return the energy that a meter of the whole pool would count while a kernel runs.

        That is the kernel's own, unless the device's energy model is fitted to a meter that counts idle power, too.
        """
        return cost.energy

    def with_library(self, name: str) -> Self:
        """Return the pool with another kernel library.

        Raises:
            InputError: these devices have no kernel libraries, or none of that name.
        """
        raise InputError(
            f"found '{name}', but {self.name} has no kernel libraries; --library is for GPUs", field="library"
        )

    def write_commands(self, kernel: Kernel, file: TextIO) -> tuple[int, int]:
        """Write the DRAM commands of a kernel; return the number of commands and the cycle at which they end.

        Raises:
            NotModelled: these devices have no command stream.
        """
        raise NotModelled(f"{self.name} has no DRAM command stream; --commands is for PIM stacks")


class DevicePool(Protocol):
    """``count`` identical devices that share every kernel among them."""

    name: str
    part: Any
    count: int

    def __init__(self, name: str, part: Any, count: int) -> None:
        """Take ``count`` devices, each as the part says."""

    @property
    def capacity_bytes(self) -> float:
        """Memory of the whole pool."""

    @property
    def static_w(self) -> float:
        """Power that the whole pool draws whether or not it works."""

    @property
    def peak_flop_per_s(self) -> float:
        """Arithmetic of the whole pool at best."""

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """What the memory that the pool computes from delivers at best."""

    def price(self, kernel: Kernel) -> Cost:
        """Return the time and energy of one kernel shared among all devices of the pool.

        Raises:
            NotModelled: this kind of device does not run this kind of kernel.
        """

    def price_caches(self, kernel: Attention, kv_tokens: Ints, longest_kv: Ints) -> AttentionRun:
        """Return what :meth:`price` does for a decoding kernel over caches of many lengths, at once.

        Args:
            kernel: decoding attention with as many query tokens in each request; its own lengths are not used.
            kv_tokens: cached tokens of all requests, the new ones included, shape (n,).
            longest_kv: the longest cache, shape (n,).

        Raises:
            ValueError: requests have different numbers of query tokens.
            NotModelled: as :meth:`price`.
        """

    def price_growing(self, kernel: Attention, n: int) -> AttentionRun:
        """Return the costs of ``n`` successive decoding iterations, every cache longer by the query tokens in each.

        Args:
            kernel: attention of the first; as many query tokens in each request.
            n: iterations.

        Raises:
            ValueError, NotModelled: as :meth:`price_caches`.
        """

    def explain(self, kernel: Kernel) -> dict[str, object]:
        """See :meth:`Explains.explain`."""

    def metered(self, cost: Cost) -> Energy:
        """See :meth:`Explains.metered`."""

    def with_library(self, name: str) -> Self:
        """See :meth:`Explains.with_library`."""

    def write_commands(self, kernel: Kernel, file: TextIO) -> tuple[int, int]:
        """See :meth:`Explains.write_commands`."""


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
