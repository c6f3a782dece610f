"""Class the launches on a GPU by the operators that launched them, their operands, and the neighbouring launches.

The classes are those of :class:`papisim.ops.kernel.KernelClass`, and :class:`RuntimeWork` for work that is not the
model's. Rules are tried in order; the first that applies decides:

1. the name of a library's own operator (``vllm::…``, ``_C::rms_norm``), innermost first;
2. the aten operator and the shapes of its operands;
3. the neighbours of a conversion or a product, which have no class of their own;
4. the name of the kernel, the only evidence in the replay of a CUDA graph.

Launches to which no rule applies stay unclassed and are reported as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from papisim.ops.kernel import KernelClass
from papisim.tracing.kineto import GpuLaunch, KinetoTrace, Operand, Operator


class RuntimeWork(StrEnum):
    """Work of a real run on the GPU other than the kernels of the model."""

    CACHE_CONCATENATION = "cache_concatenation"
    REPEATED_HEADS = "repeated_heads"
    MASK = "mask"
    COMMUNICATION = "communication"
    SAMPLING = "sampling"


LaunchClass = KernelClass | RuntimeWork
UNCLASSED: Final = "unclassed"

#: work that a serving engine avoids, and the engine's alternative
ARTEFACTS: Final[dict[LaunchClass, str]] = {
    RuntimeWork.CACHE_CONCATENATION: "the whole KV cache is copied to append the new tokens; a serving engine writes "
    "only those",
    RuntimeWork.REPEATED_HEADS: "K and V are copied for every query head; kernels for grouped queries read them in place",
    RuntimeWork.MASK: "masks and positions are built by small kernels; fused kernels compute them",
}

#: names of operators and kernels that are not aten's, most specific first
_NAMES: Final[tuple[tuple[LaunchClass, re.Pattern[str]], ...]] = tuple(
    (launch_class, re.compile(pattern, re.IGNORECASE))
    for launch_class, pattern in (
        (
            RuntimeWork.COMMUNICATION,
            r"nccl|all_?reduce|all_?gather|reduce_?scatter|cross_device_reduce|(one|two)_?shot",
        ),
        (KernelClass.KV_APPEND, r"reshape_and_cache|(store|append|write|set)_(paged_)?kv|concat_and_cache"),
        (KernelClass.NORMALISATION, r"rms_?norm|layer_?norm|add_norm|rsqrt"),
        (KernelClass.ROTARY, r"rotary|rope_|_rope|rope$"),
        (KernelClass.ACTIVATION, r"silu|gelu|swiglu|act_and_mul"),
        (KernelClass.ATTENTION, r"flash|fmha|sdpa|attention|attn|paged|batchdecode|batchprefill|merge_state"),
        (KernelClass.FC, r"gemm|gemv|nvjet|split_?k_?reduce|cutlass|cublas|marlin|_mm_|_mm$|matmul|linear"),
        (KernelClass.EMBEDDING, r"embedding"),
        (RuntimeWork.SAMPLING, r"argmax|sampl|top_?[kp]|multinomial"),
    )
)

#: aten operators that determine the class of every launch inside them
_ENCLOSING: Final[dict[str, LaunchClass]] = {
    "scaled_dot_product_attention": KernelClass.ATTENTION,
    "embedding": KernelClass.EMBEDDING,
    "linear": KernelClass.FC,
    "layer_norm": KernelClass.NORMALISATION,
    "rms_norm": KernelClass.NORMALISATION,
    "relu": KernelClass.ACTIVATION,
    "multinomial": RuntimeWork.SAMPLING,
    "argmax": RuntimeWork.SAMPLING,
}
#: aten operators with a class of their own
_OPERATORS: Final[dict[str, LaunchClass]] = {
    **dict.fromkeys(("mm", "addmm", "_grouped_mm", "_scaled_mm"), KernelClass.FC),
    **dict.fromkeys(("pow", "mean", "rsqrt", "var", "var_mean", "native_layer_norm"), KernelClass.NORMALISATION),
    **dict.fromkeys(("cos", "sin", "polar", "view_as_complex"), KernelClass.ROTARY),
    **dict.fromkeys(("silu", "silu_", "gelu", "relu", "relu_", "tanh", "sigmoid"), KernelClass.ACTIVATION),
    **dict.fromkeys(("arange", "le", "lt", "ge", "gt", "tril", "triu", "logical_and", "bitwise_and"), RuntimeWork.MASK),
    **dict.fromkeys(("topk", "one_hot", "nonzero", "sort", "index_add_", "histc", "cumsum"), KernelClass.OTHER),
}  # fmt: skip
_CONVERSIONS: Final = frozenset({"_to_copy", "to"})
_RELAYOUTS: Final = frozenset({"clone", "contiguous", "reshape"})
_WHOLE_NUMBERS: Final = frozenset({"long int", "int", "bool", "long", "unsigned char"})
#: (rows, width); (requests, heads, tokens, width); the same with the groups of grouped queries apart
_ROWS_RANK, _HEADS_RANK, _GROUPS_RANK = 2, 4, 5
#: how far back the activation may be whose result a product multiplies
_REACH: Final = 4


@dataclass(frozen=True, slots=True)
class ClassTime:
    """Launches and GPU time of one class."""

    kernel_class: str
    n_kernels: int
    time_s: float


def classify_launches(launches: Sequence[GpuLaunch]) -> list[LaunchClass | None]:
    """Return the class of every launch; None where no rule applies."""
    alone = [_by_itself(launch) for launch in launches]
    beside = [known or _by_neighbours(launches, alone, index) for index, known in enumerate(alone)]
    return [known or _by_name([launch.kernel]) for launch, known in zip(launches, beside, strict=True)]


def class_times(trace: KinetoTrace) -> list[ClassTime]:
    """Sum a trace by class, longest first."""
    sums: dict[str, tuple[int, float]] = {}
    for launch, known in zip(trace.launches, classify_launches(trace.launches), strict=True):
        name = known.value if known else UNCLASSED
        n_kernels, time_s = sums.get(name, (0, 0.0))
        sums[name] = (n_kernels + 1, time_s + launch.time_s)
    times = [ClassTime(name, n_kernels, time_s) for name, (n_kernels, time_s) in sums.items()]
    return sorted(times, key=lambda of_class: -of_class.time_s)


def classed_ratio(times: Iterable[ClassTime]) -> float:
    """Return the share of GPU time that has a class."""
    total_s = known_s = 0.0
    for of_class in times:
        total_s += of_class.time_s
        known_s += of_class.time_s if of_class.kernel_class != UNCLASSED else 0.0
    return known_s / total_s if total_s else 0.0


# ---- rules


def _by_itself(launch: GpuLaunch) -> LaunchClass | None:
    own = [operator.name for operator in launch.operators if not operator.name.startswith("aten::")]
    known = _by_name(own)
    if known or launch.operator is None:
        return known
    names = [_short(operator) for operator in launch.operators]
    for name in names:
        if name in _ENCLOSING:
            return _ENCLOSING[name]
    if names[0] in _OPERATORS:
        return _OPERATORS[names[0]]
    rule = _SHAPE_RULES.get(names[0])
    return rule(launch.operator.operands, names) if rule else None


def _by_name(names: Iterable[str]) -> LaunchClass | None:
    for name in names:
        for launch_class, pattern in _NAMES:
            if pattern.search(name):
                return launch_class
    return None


def _short(operator: Operator) -> str:
    return operator.name.removeprefix("aten::")


def _is_counting(operands: Sequence[Operand]) -> bool:
    return bool(operands) and all(operand.dtype in _WHOLE_NUMBERS for operand in operands)


def _rank(operands: Sequence[Operand]) -> int:
    return max((len(operand.shape) for operand in operands), default=0)


def _product(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    """Batched matrices: positions times frequencies, else scores or context."""
    del names
    if len(operands) < 2:  # noqa: PLR2004 - no shapes recorded
        return None
    return KernelClass.ROTARY if operands[-2].shape[-1:] == (1,) else KernelClass.ATTENTION


def _softmax(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    del names
    return KernelClass.ATTENTION if _rank(operands) >= _HEADS_RANK else KernelClass.OTHER


def _cat(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    """Equal halves are a rotation; a long and a short operand, the cache and what is appended to it."""
    del names
    shapes = {operand.shape for operand in operands}
    if len(shapes) == 1:
        return KernelClass.ROTARY
    return RuntimeWork.CACHE_CONCATENATION if _rank(operands) >= _HEADS_RANK else None


def _copy(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    """Class copies by their rank; conversions are classed by their neighbours."""
    if any(operand.dtype in _WHOLE_NUMBERS for operand in operands):
        return RuntimeWork.MASK if _is_counting(operands) else KernelClass.ROTARY
    rank = _rank(operands)
    if rank >= _GROUPS_RANK:
        return RuntimeWork.REPEATED_HEADS
    if rank < _HEADS_RANK or _CONVERSIONS & set(names):
        return None
    return KernelClass.ATTENTION if _RELAYOUTS & set(names) else KernelClass.KV_APPEND


def _scatter(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    """Rows written into heads are an append; others go to or come from experts."""
    del names
    return KernelClass.KV_APPEND if _rank(operands) >= _HEADS_RANK else KernelClass.OTHER


def _sum(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    """Two activations are a residual, heads a rotation, a column and a number the ε of a norm."""
    del names
    if _is_counting(operands):
        return RuntimeWork.MASK
    tensors = [operand.shape for operand in operands if operand.shape]
    if len(tensors) == 1:
        return KernelClass.NORMALISATION if tensors[0][-1] == 1 else None
    if _rank(operands) >= _HEADS_RANK:
        return KernelClass.ROTARY
    return KernelClass.RESIDUAL if len(set(tensors)) == 1 else None


def _times(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    """A column or a weight beside rows is a norm, positions by frequencies and heads a rotation."""
    del names
    if _is_counting(operands):
        return RuntimeWork.MASK
    tensors = sorted((operand.shape for operand in operands if operand.shape), key=len)
    if len(tensors) < 2:  # noqa: PLR2004 - a tensor and a number: classed by its neighbours
        return None
    columns, weights = ([test(shape) for shape in tensors] for test in (_is_column, _is_vector))
    if any(columns) and any(weights):
        return KernelClass.ROTARY
    if any(columns) and len(tensors[-1]) == _ROWS_RANK:
        return KernelClass.OTHER  # results of experts, scaled by the router's weights
    if any(columns) != all(columns) or any(weights):
        return KernelClass.NORMALISATION
    return KernelClass.ROTARY if _rank(operands) >= _HEADS_RANK else None


def _is_column(shape: tuple[int, ...]) -> bool:
    return shape[-1] == 1


def _is_vector(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1


def _choice(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    del names
    return RuntimeWork.MASK if any(operand.dtype == "bool" for operand in operands) else None


def _fill(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    del names
    return RuntimeWork.MASK if _is_counting(operands) else None


def _pick(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    """Rows picked for an expert."""
    del names
    return RuntimeWork.MASK if _is_counting(operands) else KernelClass.OTHER


def _negation(operands: Sequence[Operand], names: Sequence[str]) -> LaunchClass | None:
    del names
    return KernelClass.ROTARY if _rank(operands) >= _HEADS_RANK else None


_SHAPE_RULES: Final[dict[str, Callable[[Sequence[Operand], Sequence[str]], LaunchClass | None]]] = {
    "bmm": _product, "baddbmm": _product, "_softmax": _softmax, "_safe_softmax": _softmax, "cat": _cat,
    "copy_": _copy, "add": _sum, "add_": _sum, "mul": _times, "mul_": _times, "where": _choice, "masked_fill_": _choice,
    "fill_": _fill, "zero_": _fill, "neg": _negation, "eq": _fill, "sub": _fill, "index": _pick,
    **dict.fromkeys(("index_copy_", "index_put_", "_index_put_impl_", "slice_scatter"), _scatter),
}  # fmt: skip


def _by_neighbours(
    launches: Sequence[GpuLaunch], alone: Sequence[LaunchClass | None], index: int
) -> LaunchClass | None:
    """Class a conversion as the kernel before or after it, and a product of two equal shapes as a gate."""
    operator = launches[index].operator
    if operator is None:
        return None
    before = next((known for known in reversed(alone[:index]) if known), None)
    after = next((known for known in alone[index + 1 :] if known), None)
    name, operands = _short(operator), operator.operands
    if name in ("mul", "mul_"):
        if any(known is KernelClass.ACTIVATION for known in alone[max(0, index - _REACH) : index]):
            return KernelClass.ACTIVATION
        return KernelClass.ROTARY if before is KernelClass.ROTARY else None
    if name != "copy_" or not operands:
        return None
    widens = operands[0].dtype == "float"
    beside = after if widens else before
    return beside if beside in (KernelClass.NORMALISATION, KernelClass.ROTARY) else None
