"""The cost of a kernel on a device: time, and energy by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import add
from typing import NamedTuple


class Energy(NamedTuple):
    """Energy by part, in joules.

    Attributes:
        dram_activation_j: opening and closing DRAM rows.
        dram_access_j: reading and writing columns of open rows, up to the bank's edge.
        dram_transfer_j: moving data from the bank through bank group, die, TSV and interposer.
        pim_compute_j: FPUs and logic dies of PIM stacks.
        gpu_compute_j: arithmetic of the GPU.
        gpu_memory_j: on-chip memories of the GPU (its DRAM counts under the DRAM parts).
        link_j: links between devices.
        static_j: energy drawn with or without work.
    """

    dram_activation_j: float = 0.0
    dram_access_j: float = 0.0
    dram_transfer_j: float = 0.0
    pim_compute_j: float = 0.0
    gpu_compute_j: float = 0.0
    gpu_memory_j: float = 0.0
    link_j: float = 0.0
    static_j: float = 0.0

    @property
    def total_j(self) -> float:
        """Sum of the parts."""
        return float(sum(self))

    def __add__(self, other: Energy) -> Energy:  # type: ignore[override] # energies add up part by part
        return Energy(*map(add, self, other))

    def __mul__(self, factor: float) -> Energy:  # type: ignore[override]
        return Energy(*[factor * part for part in self])

    def __rmul__(self, factor: float) -> Energy:  # type: ignore[override]
        return self * factor

    def items(self) -> Iterator[tuple[str, float]]:
        """Yield (part, joules)."""
        return zip(ENERGY_PARTS, self, strict=True)


#: names of the parts, in order
ENERGY_PARTS = Energy._fields


@dataclass(frozen=True, slots=True)
class Cost:
    """Time and energy of a kernel, or of several in sequence.

    Attributes:
        time_s: time on its device.
        bound: limit of the time (``memory``, ``compute``, ``fixed``, ``column_gap``, ``row_activation``, ``fpu``, ``link_latency``
            …).
        energy: energy by part without static energy, which accrues with elapsed time.
    """

    time_s: float
    bound: str
    energy: Energy = field(default_factory=Energy)

    def __mul__(self, repeats: float) -> Cost:
        return Cost(self.time_s * repeats, self.bound, self.energy * repeats)
