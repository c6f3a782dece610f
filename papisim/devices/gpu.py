"""A group of GPUs in tensor parallel: a roofline with efficiency factors and a fixed cost per kernel.

``time = fixed + max(FLOP / (peak · efficiency), bytes / (bandwidth · efficiency))`` of the largest shard
(Williams et al., Roofline, CACM 2009; the fixed cost as in AttAcc's simulator for its small kernels). What it leaves out,
tile and wave quantisation and bandwidth that depends on the bytes in flight, makes it optimistic for odd shapes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from papisim.devices.base import DevicePart
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import Attention, Elementwise, Kernel, KernelClass, KvAppend, Linear
from papisim.spec.base import Fraction, NonNegative, Positive, Spec

#: elementwise kernels that work on a tensor which is itself split over the ranks; the others run whole on each
_SHARDED = frozenset({KernelClass.ACTIVATION, KernelClass.ROTARY})


class GpuEnergy(Spec):
    """Energy of a GPU by access and operation."""

    dram_activation_j_per_byte: NonNegative
    dram_access_j_per_byte: NonNegative
    dram_transfer_j_per_byte: NonNegative
    on_chip_j_per_byte: NonNegative
    compute_j_per_flop: NonNegative


class Part(DevicePart):
    """One GPU with its memory.

    Attributes:
        peak_flop_per_s: dense tensor-core peak at the trace's precision.
        memory_bandwidth_bytes_per_s: peak of its DRAM.
        compute_efficiency_ratio: share of the peak that a large GEMM reaches.
        memory_efficiency_ratio: share of the bandwidth that a large stream reaches.
        kernel_fixed_s: launch and tail of every kernel.

    """

    kind: Literal["gpu"]
    peak_flop_per_s: Positive
    memory_bandwidth_bytes_per_s: Positive
    compute_efficiency_ratio: Fraction
    memory_efficiency_ratio: Fraction
    kernel_fixed_s: NonNegative
    energy: GpuEnergy


@dataclass(frozen=True)
class _Shard:
    """What one rank computes and moves, and how many ranks do so."""

    flop: float
    moved_bytes: float
    ranks: int


@dataclass(frozen=True)
class Pool:
    """``count`` GPUs that split every kernel (tensor parallel)."""

    name: str
    part: Part
    count: int

    @property
    def capacity_bytes(self) -> float:
        """Memory of all GPUs."""
        return self.part.capacity_bytes * self.count

    @property
    def static_w(self) -> float:
        """Idle power of all GPUs."""
        return self.part.static_w * self.count

    def price(self, kernel: Kernel) -> Cost:
        """Return the cost of a kernel split over the GPUs; the largest shard sets the time, all shards the energy."""
        return self._roofline(self._shard(kernel))

    def _shard(self, kernel: Kernel) -> _Shard:
        match kernel:
            case Linear():
                part = math.ceil(kernel.n / self.count) / kernel.n
                moved = kernel.read_bytes + kernel.write_bytes
                return _Shard(kernel.flop * part, moved * part, self.count)
            case Attention():
                part = math.ceil(kernel.n_kv_heads / self.count) / kernel.n_kv_heads
                return _Shard(kernel.flop * part, (kernel.read_bytes + kernel.write_bytes) * part, self.count)
            case KvAppend():
                return _Shard(0, (kernel.read_bytes + kernel.write_bytes) / self.count, self.count)
            case Elementwise():
                part = 1 / self.count if kernel.kernel_class in _SHARDED else 1
                return _Shard(kernel.flop * part, (kernel.read_bytes + kernel.write_bytes) * part, self.count)

    def _roofline(self, shard: _Shard) -> Cost:
        part = self.part
        compute_s = shard.flop / (part.peak_flop_per_s * part.compute_efficiency_ratio)
        memory_s = shard.moved_bytes / (part.memory_bandwidth_bytes_per_s * part.memory_efficiency_ratio)
        bounds = {"compute": compute_s, "memory": memory_s, "fixed": part.kernel_fixed_s}
        bound = max(bounds, key=bounds.__getitem__)
        return Cost(part.kernel_fixed_s + max(compute_s, memory_s), bound, self._energy(shard))

    def _energy(self, shard: _Shard) -> Energy:
        energy, moved = self.part.energy, shard.moved_bytes * shard.ranks
        return Energy(
            dram_activation_j=energy.dram_activation_j_per_byte * moved,
            dram_access_j=energy.dram_access_j_per_byte * moved,
            dram_transfer_j=energy.dram_transfer_j_per_byte * moved,
            gpu_memory_j=energy.on_chip_j_per_byte * moved,
            gpu_compute_j=energy.compute_j_per_flop * shard.flop * shard.ranks,
        )
