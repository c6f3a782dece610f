"""Which shapes to measure: those of the shipped kernel traces, and their tensor-parallel shards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from papisim.ops.kernel import ROW_PARALLEL, FcRole
from papisim.ops.trace import KernelTrace, read_trace

TRACES = Path(__file__).parent.parent / "traces" / "kernels"


@dataclass(frozen=True, order=True)
class Weight:
    """The matrix of a fully connected kernel: ``k`` inputs, ``n`` outputs."""

    k: int
    n: int


#: never measured: models fitted to the tables predict these and are checked against the whole step
HELD_OUT = frozenset({"llama13b"})
#: models whose weights are measured at every M, with the tensor-parallel degrees of their shards
DENSE_MODELS = {"llama7b": (1, 2, 4), "llama3-8b": (1, 2), "llama3-70b": (1, 2, 4, 8), "opt30b": (1, 2)}
#: further models, measured at a coarser M
COARSE_MODELS = ("llama65b", "gpt3-66b", "gpt3-175b", "mixtral-8x7b")


@dataclass(frozen=True)
class Layer:
    """Widths of a published model's decoder layer, from its configuration: what its FC weights follow from."""

    hidden: int
    qkv: int
    attention: int
    feed_forward: int
    gated: bool

    @property
    def weights(self) -> set[Weight]:
        """Fused Q, K and V; the projection; up (with gate where there is one); down."""
        up = {Weight(self.hidden, self.feed_forward)}
        if self.gated:
            up.add(Weight(self.hidden, 2 * self.feed_forward))
        down = Weight(self.feed_forward, self.hidden)
        return {Weight(self.hidden, self.qkv), Weight(self.attention, self.hidden), down} | up


#: models without a shipped trace, measured at M which are no multiples of a tile, too
OTHER_MODELS = {
    "phi-2": Layer(2560, 7680, 2560, 10240, gated=False),
    "llama32-3b": Layer(3072, 5120, 3072, 8192, gated=True),
    "qwen25-7b": Layer(3584, 4608, 3584, 18944, gated=True),
    "gemma2-9b": Layer(3584, 8192, 4096, 14336, gated=True),
    "opt-6.7b": Layer(4096, 12288, 4096, 16384, gated=False),
    "falcon-7b": Layer(4544, 4672, 4544, 18176, gated=False),
    "qwen25-32b": Layer(5120, 7168, 5120, 27648, gated=True),
    "opt-13b": Layer(5120, 15360, 5120, 20480, gated=False),
    "gpt-neox-20b": Layer(6144, 18432, 6144, 24576, gated=False),
    "yi-34b": Layer(7168, 9216, 7168, 20480, gated=True),
    "codellama-34b": Layer(8192, 10240, 8192, 22016, gated=True),
    "qwen25-72b": Layer(8192, 10240, 8192, 29568, gated=True),
    "falcon-40b": Layer(8192, 9216, 8192, 32768, gated=False),
    "gpt3-13b": Layer(5184, 15552, 5184, 20736, gated=False),
    "bloom-176b": Layer(14336, 43008, 14336, 57344, gated=False),
    "llama31-405b": Layer(16384, 18432, 16384, 53248, gated=True),
}

TOKEN_ROWS = (
    1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512,
    640, 768, 896, 1024,
)  # fmt: skip
OTHER_TOKEN_ROWS = (
    1, 2, 3, 5, 8, 12, 16, 17, 24, 32, 33, 48, 64, 65, 80, 96, 100, 128, 129, 160, 192, 200, 256, 257, 320, 384, 400, 512,
    640, 768, 1000, 1024,
)  # fmt: skip
COARSE_TOKEN_ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
ENERGY_TOKEN_ROWS = (1, 8, 32, 64, 128, 256, 512, 1024)


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


def other_plan() -> list[tuple[Weight, tuple[int, ...]]]:
    """Return the weights of the models without a trace, those that :func:`linear_plan` has and held-out ones left out."""
    forbidden = set().union(*(weights(trace_of(model)) for model in HELD_OUT))
    known = {weight for weight, _ in linear_plan()} | forbidden
    found: set[Weight] = set()
    for layer in OTHER_MODELS.values():
        found |= layer.weights
    return _with_rows(found - known, OTHER_TOKEN_ROWS)


@cache
def models_with() -> dict[Weight, tuple[str, ...]]:
    """Return the models that have each weight of the plans, whole, fused or as a shard."""
    found: dict[Weight, set[str]] = {}
    for model, degrees in (DENSE_MODELS | dict.fromkeys(COARSE_MODELS, (1,))).items():
        trace = trace_of(model)
        for weight in fused_weights(trace).union(*(weights(trace, ranks) for ranks in degrees)):
            found.setdefault(weight, set()).add(model)
    for model, layer in OTHER_MODELS.items():
        for weight in layer.weights:
            found.setdefault(weight, set()).add(model)
    return {weight: tuple(sorted(models)) for weight, models in found.items()}


def _with_rows(found: Iterable[Weight], rows: tuple[int, ...]) -> list[tuple[Weight, tuple[int, ...]]]:
    return [(weight, rows) for weight in sorted(found, key=lambda weight: (weight.k * weight.n, weight))]


def energy_weights() -> set[Weight]:
    """Return the weights whose energy is measured, too: those of the dense models, unsharded."""
    return set().union(*(weights(trace_of(model)) for model in DENSE_MODELS))
