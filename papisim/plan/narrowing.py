"""Kernels that narrow the inputs of FC kernels to eight or four bits: read as computed, written narrow, with their scales.

One kernel serves all products of one input (Q, K and V; gate and up). An engine may let the kernel that computes an input write it
narrow (:attr:`papisim.config.engine.FusionSpec.quantise`): norms before QKV and feed-forward networks, the activation between.
The context of attention is narrowed by a kernel of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from papisim.ops.kernel import Elementwise, FcRole, KernelClass, Linear
from papisim.ops.trace_kernels import JOINT, TraceKernel

#: operations per element: absolute value, maximum, scaling
_FLOP: Final = 3
#: a scale in FP32
_SCALE_BYTES: Final = 4
#: inputs that are shared among ranks as the columns of what computed them
_SHARED: Final = frozenset({FcRole.PROJECTION, FcRole.FEED_FORWARD_DOWN})


def narrowing(kernel: Linear, rows: int) -> Elementwise:
    """Return the kernel that narrows the input of an FC kernel.

    Each row has a scale, or one for every group of inputs where the weights have scales of blocks (DeepSeek-V3, 2024, Section 3.3.2).

    Args:
        kernel: the FC kernel, with narrow inputs.
        rows: rows of the input; fewer than the kernel's where they are gathered afterwards.
    """
    blocks = kernel.weights is not None and kernel.weights.rows > 1
    group = kernel.weights.group if blocks and kernel.weights is not None else kernel.k
    elements, scales = rows * kernel.k, rows * -(-kernel.k // group)
    kernel_class = KernelClass.ACTIVATION if kernel.role in _SHARED else KernelClass.OTHER
    narrow_bytes = elements * (kernel.input_bits or 0) // 8 + _SCALE_BYTES * scales
    return Elementwise(kernel_class, _FLOP * elements, elements * kernel.element_bytes, narrow_bytes)


def narrowing_rows(kernel: Linear, rows: int) -> int:
    """Return the rows that are narrowed before an FC kernel: those of a step before they are gathered for each expert.

    Args:
        kernel: the FC kernel.
        rows: token-rows of the step.
    """
    is_gathered = kernel.groups and kernel.role is FcRole.FEED_FORWARD_UP
    return min(rows, kernel.m) if is_gathered else kernel.m


def narrowed(kernels: Sequence[TraceKernel], *, is_merged: bool) -> tuple[bool, ...]:
    """Return for each kernel of a block whether a kernel of its own narrows its input, where its device takes narrow ones.

    Args:
        kernels: kernels of the block; the input of several FC kernels is narrowed before the first.
        is_merged: whether norms and activations write narrow what they compute.
    """
    seen: set[object] = set()
    found: list[bool] = []
    for kernel in kernels:
        module = kernel.name.partition(JOINT)[0].rpartition(".")[0]
        place = (kernel.role, module, tuple(map(str, kernel.reads)))
        is_first = kernel.fc is not None and place not in seen and kernel.role is not FcRole.LM_HEAD
        found.append(is_first and not (is_merged and kernel.role is not FcRole.PROJECTION))
        seen.add(place)
    return tuple(found)
