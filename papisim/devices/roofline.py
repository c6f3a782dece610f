"""Devices of which nothing is known but a datasheet: as fast as arithmetic or memory allow, and a launch per kernel.

A kernel takes ``launch + max(FLOP / peak, bytes / bandwidth)`` on its fullest rank (Williams et al., Roofline, CACM 2009), and draws
the board's power while it runs. Nothing is fitted: a real device is slower, by what its kernels leave of both peaks, and every kernel
counts as outside a fit. FC kernels and what works on split tensors are dealt out evenly to ranks, attention and caches by heads, as on
GPUs.
"""

from __future__ import annotations

import numpy as np

from papisim.arrays import Ints
from papisim.config.base import NonNegative, Positive
from papisim.devices.base import AttentionRun, DevicePart, DevicePool
from papisim.errors import NotModelled
from papisim.kinds import Example
from papisim.ops.caches import AttentionOverCaches
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import Attention, Elementwise, Kernel, KernelClass, KvAppend, Linear
from papisim.ops.shards import head_shares, kv_imbalance

#: elementwise kernels that work on a tensor which is itself split over the ranks; the others run whole on each
_SHARDED = frozenset({KernelClass.ACTIVATION, KernelClass.ROTARY, KernelClass.STATE})


class Part(DevicePart):
    """One device, in the numbers of its datasheet.

    Attributes:
        peak_flop_per_s: dense matrix arithmetic on 16-bit inputs.
        peak_8bit_flop_per_s: the same on 8-bit inputs; None if it has no such rate.
        peak_4bit_flop_per_s: the same on 4-bit inputs; None if it has no such rate.
        memory_bandwidth_bytes_per_s: bandwidth of its memory.
        launch_s: time of a kernel that computes nothing.
        board_w: power while a kernel runs.
    """

    peak_flop_per_s: Positive
    peak_8bit_flop_per_s: Positive | None = None
    peak_4bit_flop_per_s: Positive | None = None
    memory_bandwidth_bytes_per_s: Positive
    launch_s: NonNegative
    board_w: NonNegative


EXAMPLE = Example("b200")


class Pool(DevicePool):
    """``count`` devices in tensor parallel."""

    part: Part

    @property
    def peak_flop_per_s(self) -> float:
        """Arithmetic of all devices on 16-bit inputs."""
        return self.part.peak_flop_per_s * self.count

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Bandwidth of the memory of all devices."""
        return self.part.memory_bandwidth_bytes_per_s * self.count

    def price(self, kernel: Kernel) -> Cost:
        """Return the cost of a kernel on its fullest rank; all ranks draw power meanwhile.

        Raises:
            NotModelled: inputs of FC are of 8 or 4 bits, and the part has no rate for them.
        """
        moved_bytes, share = kernel.read_bytes + kernel.write_bytes, self._share(kernel)
        charged_s = self.part.charged_s(kernel) if isinstance(kernel, Elementwise) else None
        compute_s = kernel.flop * share / self._rate(kernel)
        memory_s = moved_bytes * share / self.part.memory_bandwidth_bytes_per_s
        time_s = self.part.launch_s + max(compute_s, memory_s) if charged_s is None else charged_s
        bounds = {"compute": compute_s, "memory": memory_s, "fixed": self.part.launch_s}
        return Cost(time_s, max(bounds, key=bounds.__getitem__), Energy(gpu_compute_j=self._joules(time_s)))

    def price_caches(self, kernel: Attention, kv_tokens: Ints, longest_kv: Ints) -> AttentionRun:
        """Return the costs of a decoding kernel over caches of many lengths."""
        caches, share, part = AttentionOverCaches(kernel, kv_tokens, longest_kv), self._share(kernel), self.part
        compute_s, memory_s = (
            caches.flop * share / part.peak_flop_per_s,
            caches.moved_bytes * share / part.memory_bandwidth_bytes_per_s,
        )
        times_s = part.launch_s + np.maximum(compute_s, memory_s)
        return AttentionRun.of(times_s, Energy(gpu_compute_j=self._joules(times_s)))

    def outside(self, kernel: Kernel) -> str | None:
        """Return that nothing is fitted."""
        del kernel
        return "a roofline of a datasheet, which nothing is fitted to"

    def kv_imbalance(self, n_heads: int, n_kv_heads: int, n_layers: int, n_requests: int | None = None) -> float:
        """Return the KV heads of the fullest device over those of a mean one."""
        del n_layers, n_requests
        return kv_imbalance(n_heads, n_kv_heads, self.count)

    def quantises(self, kernel: Linear) -> bool:
        """Return True of narrow inputs: a datasheet knows of no kernel that narrows them on its way."""
        return kernel.input_bits is not None and kernel.input_bits < 8 * kernel.element_bytes

    def _rate(self, kernel: Kernel) -> float:
        if not isinstance(kernel, Linear) or not self.quantises(kernel):
            return self.part.peak_flop_per_s
        name = f"peak_{kernel.input_bits}bit_flop_per_s"
        rate: float | None = getattr(self.part, name)
        if rate is None:
            raise NotModelled(
                f"FC inputs of {kernel.input_bits} bits on '{self.part.description}', which has no {name}"
            )
        return rate

    def _share(self, kernel: Kernel) -> float:
        """Return the part of a kernel that the fullest rank has."""
        match kernel:
            case Attention():
                return self._share_of_heads(kernel.n_heads, kernel.n_kv_heads)
            case KvAppend(heads=(n_heads, n_kv_heads)):
                return head_shares(n_heads, n_kv_heads, self.count)[0].n_kv_heads / n_kv_heads
            case Elementwise() if kernel.kernel_class not in _SHARDED:
                return 1.0
        return 1 / self.count

    def _share_of_heads(self, n_heads: int, n_kv_heads: int) -> float:
        """Return the larger of the fullest rank's shares: of query heads, whose work it has, and of KV heads, which it reads."""
        fullest = head_shares(n_heads, n_kv_heads, self.count)[0]
        return max(fullest.n_heads / n_heads, fullest.n_kv_heads / n_kv_heads)

    def _joules(self, time_s: float) -> float:
        """Return the energy of all devices above what they draw idle."""
        return max(0.0, self.part.board_w - self.part.static_w) * self.count * time_s
