"""Kernels as eager torch launches them: one per operation, with a gap between each and the next."""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

from papisim.ops.cost import Cost
from papisim.ops.kernel import Elementwise, Kernel, KernelClass
from papisim.ops.trace_kernels import TraceKernel

#: K and V are written by a kernel each
APPENDS: Final = 2


class UnfusedPart(Protocol):
    """The part of an :class:`UnfusedPool`."""

    @property
    def between_kernels_s(self) -> float:
        """Time between the end of a kernel and the start of the next."""


@runtime_checkable
class UnfusedPool(Protocol):
    """Devices that launch every aten operation as a kernel of its own, such as GPUs."""

    @property
    def part(self) -> UnfusedPart:
        """Each of the devices."""

    @property
    def count(self) -> int:
        """Number of devices."""

    def price(self, kernel: Kernel) -> Cost:
        """Return the cost of a kernel."""

    def price_unfused(self, kernel: Elementwise, n_kernels: int, rows: int) -> Cost:
        """Return the cost of the single operations of a kernel."""


def unfused(kernel: TraceKernel, rows: int, expert_rows: int = 0) -> tuple[Elementwise, int]:
    """Return a kernel with the bytes that its single operations move, and the number of operations.

    Args:
        kernel: a kernel of the trace, neither fully connected nor attention.
        rows: token-rows that the kernel sees.
        expert_rows: rows of the expert at hand, for a per-expert kernel.
    """
    point = {"RLP": 1, "TLP": rows, "KV": 0, "EXPERT_ROWS": expert_rows}
    reads, writes = kernel.unfused_read_bytes.at(point), kernel.unfused_write_bytes.at(point)
    count = APPENDS if kernel.kernel_class is KernelClass.KV_APPEND else max(1, len(kernel.aten))
    return Elementwise(kernel.kernel_class, kernel.flop.at(point), reads, writes), count
