"""What one aten operator computes and which memory it really touches.

The conventions are those of :mod:`papisim.ops.trace`. Operators are distinguished by torch's own tags where they have any.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final, cast

import torch
from torch._ops import OpOverload

from papisim.errors import NotModelled

#: operator → the positions of the two matrices among its arguments
MATMUL: Final = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)}
#: fused operators and the FLOPs of each input element: maximum, subtract, exponential, sum, divide; or
#: mean, centre, square, sum, scale, weight, bias
PER_INPUT_ELEMENT: Final = {
    "_softmax": 5, "_safe_softmax": 5, "_log_softmax": 5,
    "native_layer_norm": 7, "_fused_rms_norm": 4, "topk": 1, "sort": 1, "cumsum": 1, "norm": 1,
}  # fmt: skip
#: operators that only move, create or pick data
MOVES: Final = frozenset({
    "_to_copy", "clone", "copy_", "cat", "stack", "embedding", "index", "index_select", "gather", "scatter", "scatter_",
    "index_put", "index_put_", "nonzero", "repeat", "repeat_interleave", "constant_pad_nd", "roll", "flip", "slice_scatter",
    "select_scatter", "as_strided_scatter", "zeros", "zeros_like", "ones", "ones_like", "full", "full_like", "empty",
    "empty_like", "new_zeros", "new_ones", "new_full", "new_empty", "zero_", "fill_", "arange", "scalar_tensor",
    "lift_fresh_copy", "tril", "triu", "resolve_conj",
})  # fmt: skip
#: operators that make a tensor of an operand's shape without reading it
CREATES: Final = frozenset({
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "new_zeros", "new_ones", "new_full", "new_empty",
})  # fmt: skip
#: look-ups: the rows they return are what they read of their first operand
PICKS: Final = {"embedding": 0, "index": 0, "index_select": 0, "gather": 0}
#: operators that overwrite their first operand without reading it
OVERWRITES: Final = frozenset({"zero_", "fill_", "copy_", "scatter_", "index_put_"})
#: aliases and host work: nothing is launched for them
NOT_KERNELS: Final = frozenset({
    "detach", "alias", "_unsafe_view", "lift_fresh", "_local_scalar_dense", "is_nonzero", "equal", "sym_size",
    "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "item",
})  # fmt: skip
#: matrix products of another kind; counting them as elementwise would be wrong by orders of magnitude
_UNKNOWN_PRODUCTS: Final = (
    "conv",
    "scaled_dot_product",
    "grouped_mm",
    "scaled_mm",
    "linalg",
    "einsum",
    "cdist",
    "rnn",
    "lstm",
)


def operator_name(func: OpOverload) -> str:
    """Return the name without namespace and overload: ``mm`` of ``aten.mm.default``."""
    return str(func.overloadpacket.__name__)


def is_kernel(func: OpOverload) -> bool:
    """Tell kernels from views and host work."""
    return not func.is_view and operator_name(func) not in NOT_KERNELS


def matmul_flop(func: OpOverload, args: Sequence[object]) -> int:
    """Return ``2·m·n·k`` of a matrix product (times the batch), and 0 for any other operator."""
    positions = MATMUL.get(operator_name(func))
    if positions is None:
        return 0
    left, right = (cast("torch.Tensor", args[position]).shape for position in positions)
    return int(2 * prod(left) * right[-1])


def elementwise_flop(func: OpOverload, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> int:
    """Return the FLOPs of an operator besides those of a matrix product.

    Raises:
        NotModelled: a product that there is no rule for.
    """
    name = operator_name(func)
    if name in MOVES or name in ("mm", "bmm"):
        return 0
    if any(word in name for word in _UNKNOWN_PRODUCTS):
        raise NotModelled(f"the operator {func} has no FLOP rule; a model that dispatches it cannot be captured")
    if name in PER_INPUT_ELEMENT:
        return PER_INPUT_ELEMENT[name] * int(inputs[0].numel())
    if name in ("index_add_", "index_add"):
        return int(inputs[-1].numel())
    if torch.Tag.reduction in func.tags:
        return int(inputs[0].numel())
    return sum(int(output.numel()) for output in outputs)


def touched_shape(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return the shape of the distinct elements of an operand: an expanded dimension is one element repeated."""
    if tensor.layout != torch.strided:
        return tuple(tensor.shape)
    return tuple(1 if stride == 0 else size for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
