"""Which shapes to measure: those of the shipped kernel traces, and their tensor-parallel shards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from papisim.ops.kernel import ROW_PARALLEL, FcRole
from papisim.ops.trace import KernelTrace, read_trace

TRACES = Path(__file__).parent.parent / "traces" / "kernels"

#: never measured: whoever fits a model to the tables predicts these and checks against the whole step
HELD_OUT = frozenset({"llama13b"})
#: models whose weights are measured at every M, with the tensor-parallel degrees of their shards
DENSE_MODELS = {"llama7b": (1, 2, 4), "llama3-8b": (1, 2), "llama3-70b": (1, 2, 4, 8), "opt30b": (1, 2)}
#: further models, measured at a coarser M
COARSE_MODELS = ("llama65b", "gpt3-66b", "gpt3-175b", "mixtral-8x7b")

TOKEN_ROWS = (
    1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512,
    640, 768, 896, 1024,
)  # fmt: skip
COARSE_TOKEN_ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
ENERGY_TOKEN_ROWS = (1, 8, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, order=True)
class Weight:
    """The matrix of a fully connected kernel: ``k`` inputs, ``n`` outputs."""

    k: int
    n: int


def trace_of(model: str) -> KernelTrace:
    """Read the shipped trace of a model."""
    return read_trace(TRACES / model / "trace.yaml")


def weights(trace: KernelTrace, ranks: int = 1) -> set[Weight]:
    """Return the FC weights of a model, as one of several tensor-parallel ranks holds them.

    Row-parallel kernels split their inputs, the others their outputs (Megatron-LM); the LM head stays whole.
    """
    found = set()
    for kernel, _ in trace.kernels():
        if kernel.fc is None:
            continue
        k, n = kernel.fc.k, kernel.fc.n
        if kernel.role in ROW_PARALLEL:
            k //= ranks
        elif kernel.role is not FcRole.LM_HEAD:
            n //= ranks
        found.add(Weight(k, n))
    return found


def fused_weights(trace: KernelTrace) -> set[Weight]:
    """Return Q, K and V as one weight, and gate and up as one, as serving engines fuse them."""
    sums: dict[FcRole, list[Weight]] = {}
    for kernel in next(block for block in trace.blocks if block.layers).kernels:
        if kernel.fc is not None and kernel.role in (FcRole.QKV, FcRole.FEED_FORWARD_UP):
            sums.setdefault(kernel.role, []).append(Weight(kernel.fc.k, kernel.fc.n))
    return {Weight(parts[0].k, sum(part.n for part in parts)) for parts in sums.values() if len(parts) > 1}


def linear_plan() -> list[tuple[Weight, tuple[int, ...]]]:
    """Return every weight to measure with its M, smallest weight first; nothing of a held-out model."""
    dense: set[Weight] = set()
    for model, degrees in DENSE_MODELS.items():
        trace = trace_of(model)
        dense = dense.union(*(weights(trace, ranks) for ranks in degrees))
    extra: set[Weight] = set()
    for model in ("llama7b", "llama3-8b", "llama3-70b"):
        extra |= fused_weights(trace_of(model))
    for model in COARSE_MODELS:
        extra |= weights(trace_of(model))
    forbidden = set().union(*(weights(trace_of(model)) for model in HELD_OUT))
    return [*_with_rows(dense - forbidden, TOKEN_ROWS), *_with_rows(extra - dense - forbidden, COARSE_TOKEN_ROWS)]


def _with_rows(found: Iterable[Weight], rows: tuple[int, ...]) -> list[tuple[Weight, tuple[int, ...]]]:
    return [(weight, rows) for weight in sorted(found, key=lambda weight: (weight.k * weight.n, weight))]


def energy_weights() -> set[Weight]:
    """Return the weights whose energy is measured, too: those of the dense models, unsharded."""
    return set().union(*(weights(trace_of(model)) for model in DENSE_MODELS))
