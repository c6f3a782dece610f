"""What a whole decode iteration costs on GPUs, each aten kernel by itself, as eager torch under a CUDA graph runs it."""

from __future__ import annotations

from dataclasses import dataclass

from papisim.devices.gpu import Pool
from papisim.ops.cost import Cost
from papisim.ops.dims import EXPERT_ROWS
from papisim.ops.kernel import Elementwise, KernelClass
from papisim.ops.lower import decode_lengths, lower, lower_attention
from papisim.ops.trace import KernelTrace, Point, TraceKernel

#: K and V are written by a kernel each
_APPENDS = 2


@dataclass(frozen=True)
class ClassPrice:
    """The kernels of one class in one iteration: how many, for how long, and their energy above idle."""

    kernel_class: KernelClass
    n_kernels: int
    time_s: float
    energy_j: float


@dataclass(frozen=True)
class StepPrice:
    """One decode iteration.

    Attributes:
        classes: kernels by class, longest first.
        time_s: of all of them, which follow one another, and what each waits after the one before.
        energy_j: of all of them, and what the boards draw idle meanwhile.
        outside: kernels outside the range of the fit, priced by physics alone.
    """

    classes: tuple[ClassPrice, ...]
    time_s: float
    energy_j: float
    outside: tuple[str, ...]

    @property
    def n_kernels(self) -> int:
        """Kernels launched."""
        return sum(each.n_kernels for each in self.classes)


def price_step(pool: Pool, trace: KernelTrace, point: Point) -> StepPrice:
    """Price one decode iteration; a mixture of experts is not unfused here.

    Args:
        pool: the GPUs; all-reduces between them are not counted.
        trace: the model.
        point: requests, new tokens of each, and tokens of each in the cache before the step.
    """
    totals: dict[KernelClass, tuple[int, float, float]] = {}
    outside: dict[str, None] = {}
    for kernel, repeats in trace.kernels():
        count, cost, remark = _priced(pool, trace, kernel, point)
        n, time_s, energy_j = totals.get(kernel.kernel_class, (0, 0.0, 0.0))
        added = n + count * repeats, time_s + cost.time_s * repeats, energy_j + cost.energy.total_j * repeats
        totals[kernel.kernel_class] = added
        if remark is not None:
            outside[f"{kernel.name}: {remark}"] = None
    classes = sorted((ClassPrice(name, *total) for name, total in totals.items()), key=lambda each: -each.time_s)
    waiting_s = pool.part.between_kernels_s * sum(each.n_kernels for each in classes)
    step_s = sum(each.time_s for each in classes) + waiting_s
    energy_j = sum(each.energy_j for each in classes) + pool.static_w * step_s
    return StepPrice(tuple(classes), step_s, energy_j, tuple(outside))


def _priced(pool: Pool, trace: KernelTrace, kernel: TraceKernel, point: Point) -> tuple[int, Cost, str | None]:
    """Return how many kernels a trace's kernel is, what they cost, and where they lie outside the fit."""
    rlp, tlp = point.rlp, point.tlp
    if kernel.kernel_class is KernelClass.ATTENTION:
        attention = lower_attention(kernel, trace, decode_lengths(rlp, tlp, rlp * point.kv, point.kv))
        return 1, pool.price(attention), pool.outside(attention)
    if kernel.fc is not None:
        linear = lower(kernel, trace, rlp * tlp)
        return 1, pool.price(linear), pool.outside(linear)
    at = point.symbols | {EXPERT_ROWS: 0}
    reads, writes = kernel.unfused_read_bytes.at(at), kernel.unfused_write_bytes.at(at)
    count = _APPENDS if kernel.kernel_class is KernelClass.KV_APPEND else max(1, len(kernel.aten))
    unfused = Elementwise(kernel.kernel_class, kernel.flop.at(at), reads, writes)
    return count, pool.price_unfused(unfused, count, rlp * tlp), None
