"""The price of a whole decode iteration on GPUs, one kernel per aten operation, as eager torch under a CUDA graph runs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from papisim.ops.cost import Cost
from papisim.ops.dims import EXPERT_ROWS
from papisim.ops.experts import tokens_per_expert
from papisim.ops.kernel import Elementwise, Group, Kernel, KernelClass
from papisim.ops.lower import decode_lengths, lower, lower_attention
from papisim.ops.trace import KernelTrace, ModelFacts, Point
from papisim.ops.trace_kernels import TraceKernel

#: K and V are written by a kernel each
_APPENDS = 2


class UnfusedPart(Protocol):
    """The part of an :class:`UnfusedPool`."""

    @property
    def between_kernels_s(self) -> float:
        """Time between the end of a kernel and the start of the next."""

    @property
    def energy_model(self) -> str:
        """``fitted`` to a meter of the board, or ``per_access``."""


@runtime_checkable
class UnfusedPool(Protocol):
    """Devices that launch every aten operation as a kernel of its own, such as GPUs."""

    @property
    def part(self) -> UnfusedPart:
        """Each of the devices."""

    @property
    def count(self) -> int:
        """Number of devices."""

    @property
    def static_w(self) -> float:
        """Idle power of all devices."""

    def price(self, kernel: Kernel) -> Cost:
        """Return the cost of a kernel."""

    def price_unfused(self, kernel: Elementwise, n_kernels: int, rows: int) -> Cost:
        """Return the cost of the single operations of a kernel."""

    def outside(self, kernel: Kernel) -> str | None:
        """Return which limit of the fit a kernel passes; None inside."""


@dataclass(frozen=True)
class ClassPrice:
    """The kernels of one class in one iteration: their number, time and energy above idle."""

    kernel_class: KernelClass
    n_kernels: int
    time_s: float
    energy_j: float


@dataclass(frozen=True)
class StepPrice:
    """One decode iteration.

    Attributes:
        classes: kernels by class, longest first.
        time_s: time of all kernels, which follow one another, and of the gaps between them.
        energy_j: energy of all kernels, and idle power over ``time_s``.
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


def price_step(pool: UnfusedPool, trace: KernelTrace, point: Point, seed: int = 0) -> StepPrice:
    """Price one decode iteration; the experts of a mixture run one after another, each on the rows routed to it.

    Args:
        pool: the GPUs; all-reduces between them are not counted.
        trace: the model.
        point: requests, new tokens per request, and cached tokens per request before the step.
        seed: seed of the experts' router, as of a run.
    """
    totals: dict[KernelClass, tuple[int, float, float]] = {}
    outside: dict[str, None] = {}
    for kernel, expert_rows, repeats in _launches(trace, point, seed):
        count, cost, remark = _priced(pool, trace, kernel, point, expert_rows)
        n, time_s, energy_j = totals.get(kernel.kernel_class, (0, 0.0, 0.0))
        added = n + count * repeats, time_s + cost.time_s * repeats, energy_j + cost.energy.total_j * repeats
        totals[kernel.kernel_class] = added
        if remark is not None:
            outside[f"{kernel.name}: outside the fit, {remark}"] = None
    classes = sorted((ClassPrice(name, *total) for name, total in totals.items()), key=lambda each: -each.time_s)
    waiting_s = pool.part.between_kernels_s * sum(each.n_kernels for each in classes)
    step_s = sum(each.time_s for each in classes) + waiting_s
    energy_j = sum(each.energy_j for each in classes) + pool.static_w * step_s
    return StepPrice(tuple(classes), step_s, energy_j, tuple(outside))


def _launches(trace: KernelTrace, point: Point, seed: int) -> Iterator[tuple[TraceKernel, int, int]]:
    """Yield each kernel, the rows of its expert (0 outside experts) and the number of its runs; idle experts do not run."""
    for block in trace.blocks:
        has_experts = any(kernel.per_expert for kernel in block.kernels)
        loads = _expert_loads(trace.model, block.layer_indices, point, seed) if has_experts else {}
        for kernel in block.kernels:
            if not kernel.per_expert:
                yield kernel, 0, block.repeats
                continue
            for expert_rows, repeats in loads.items():
                yield kernel, expert_rows, repeats


def _expert_loads(model: ModelFacts, layers: Sequence[int], point: Point, seed: int) -> dict[int, int]:
    """Return the number of experts in the given layers by the token-rows routed to each, experts without rows left out."""
    token_rows = point.rlp * point.tlp
    drawn = (
        tokens_per_expert(seed, layer, token_rows, model.n_experts, model.n_experts_per_token) for layer in layers
    )
    loads = Counter(rows for layer in drawn for rows in layer if rows)
    return dict(sorted(loads.items()))


def _priced(
    pool: UnfusedPool, trace: KernelTrace, kernel: TraceKernel, point: Point, expert_rows: int
) -> tuple[int, Cost, str | None]:
    """Return the number of kernels behind a trace's kernel, their cost, and the limit of the fit that they pass."""
    rlp, tlp = point.rlp, point.tlp
    if kernel.kernel_class is KernelClass.ATTENTION:
        attention = lower_attention(kernel, trace, decode_lengths(rlp, tlp, rlp * point.kv, point.kv))
        return 1, pool.price(attention), pool.outside(attention)
    if kernel.fc is not None:
        linear = lower(kernel, trace, rlp * tlp, (Group(expert_rows, 1),) if kernel.per_expert else ())
        return 1, pool.price(linear), pool.outside(linear)
    at = point.symbols | {EXPERT_ROWS: expert_rows}
    reads, writes = kernel.unfused_read_bytes.at(at), kernel.unfused_write_bytes.at(at)
    count = _APPENDS if kernel.kernel_class is KernelClass.KV_APPEND else max(1, len(kernel.aten))
    unfused = Elementwise(kernel.kernel_class, kernel.flop.at(at), reads, writes)
    cost = pool.price_unfused(unfused, count, expert_rows if kernel.per_expert else rlp * tlp)
    return count, cost, pool.outside(unfused)
