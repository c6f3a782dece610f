"""The kernels of a trace, fused and as torch dispatched them, with the rules that each kernel keeps.

Bytes and FLOPs of both levels are polynomials; see :mod:`papisim.ops.trace` for the conventions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Self

from pydantic import model_validator

from papisim.config.base import Count, Name
from papisim.ops.dims import EXPERT_ROWS, Dim, total, whole
from papisim.ops.kernel import FcRole, KernelClass
from papisim.ops.tensors import DimField, ParameterField, TensorField, TraceSpec, bytes_of


class AtenKernel(TraceSpec):
    """One aten kernel as torch dispatched it.

    Attributes:
        op: operator and overload, such as ``aten.mm.default``.
        inputs: tensor operands, parameters included, as dispatched.
        outputs: tensors returned; for an in-place operator the operand that it changed.
        flop: FLOPs, by the conventions of :mod:`papisim.ops.trace`.
        reads_bytes: bytes read, where that is not the whole of its inputs (a look-up reads the rows it selects).
        writes_bytes: bytes written, where that is not the whole of its outputs.
    """

    op: Name
    inputs: tuple[TensorField, ...] = ()
    outputs: tuple[TensorField, ...] = ()
    flop: DimField = whole(0)
    reads_bytes: DimField | None = None
    writes_bytes: DimField | None = None

    @property
    def read_bytes(self) -> Dim:
        """Bytes read from memory when the aten kernel runs by itself."""
        return bytes_of(self.inputs) if self.reads_bytes is None else self.reads_bytes

    @property
    def write_bytes(self) -> Dim:
        """Bytes written to memory when the aten kernel runs by itself."""
        return bytes_of(self.outputs) if self.writes_bytes is None else self.writes_bytes


class FcShape(TraceSpec):
    """The matrix product of an FC kernel: ``(m, k)`` activations times a ``(k, n)`` weight."""

    m: DimField
    k: Count
    n: Count


class AttentionShape(TraceSpec):
    """The heads of an attention kernel; ``n_heads`` is a multiple of ``n_kv_heads``."""

    n_heads: Count
    n_kv_heads: Count
    head_dim: Count


class TraceKernel(TraceSpec):
    """One fused kernel, for the whole batch, in one layer.

    Attributes:
        name: module path within the layer, such as ``self_attn.q_proj``.
        kernel_class: class by which the kernel is placed and reported.
        role: role of an FC kernel in its layer; None for the other classes.
        fc: the matrix product; FC kernels only.
        attention: the heads; attention kernels only.
        per_expert: the kernel runs once per expert with rows, on its ``EXPERT_ROWS`` rows, with that expert's own
            parameters; consecutive per-expert kernels run together, expert by expert.
        weights: parameters streamed from memory in full.
        tables: parameters of which only the rows counted in ``reads`` are read (embeddings).
        reads: tensors read besides ``weights``; a cached K or V is a read of all its tokens at the heads of the cache.
        writes: tensors written that another kernel reads.
        matmul_flop: FLOPs of matrix products.
        elementwise_flop: all other FLOPs.
        aten: the aten kernels that the kernel fuses; empty where ``replaces`` is given.
        replaces: names of the aten operators that torch ran on meta tensors in place of this one kernel. A note only: they
            depend on torch's decomposition, not on the model.
    """

    name: Name
    kernel_class: KernelClass
    role: FcRole | None = None
    fc: FcShape | None = None
    attention: AttentionShape | None = None
    per_expert: bool = False
    weights: tuple[ParameterField, ...] = ()
    tables: tuple[ParameterField, ...] = ()
    reads: tuple[TensorField, ...] = ()
    writes: tuple[TensorField, ...] = ()
    matmul_flop: DimField = whole(0)
    elementwise_flop: DimField = whole(0)
    aten: tuple[AtenKernel, ...] = ()
    replaces: tuple[str, ...] = ()

    @cached_property
    def weight_bytes(self) -> Dim:
        """Bytes of parameters streamed (of one expert, in a per-expert kernel)."""
        return bytes_of(parameter.tensor for parameter in self.weights)

    @cached_property
    def read_bytes(self) -> Dim:
        """Bytes read: parameters and operands that come from outside the fused group."""
        return self.weight_bytes + bytes_of(self.reads)

    @cached_property
    def write_bytes(self) -> Dim:
        """Bytes written for other kernels."""
        return bytes_of(self.writes)

    @cached_property
    def flop(self) -> Dim:
        """FLOPs of matrix products and all others."""
        return self.matmul_flop + self.elementwise_flop

    @property
    def unfused_read_bytes(self) -> Dim:
        """Bytes read when each aten kernel runs by itself (for attention and KV append, as fused)."""
        return total(kernel.read_bytes for kernel in self.aten) if self.aten else self.read_bytes

    @property
    def unfused_write_bytes(self) -> Dim:
        """Bytes written when each aten kernel runs by itself (for attention and KV append, as fused)."""
        return total(kernel.write_bytes for kernel in self.aten) if self.aten else self.write_bytes

    @property
    def symbols(self) -> frozenset[str]:
        """Every symbol in the dimensions of the kernel."""
        tensors = [*self.reads, *self.writes, *(t for aten in self.aten for t in (*aten.inputs, *aten.outputs))]
        dims = [dim for tensor in tensors for dim in tensor.shape]
        return frozenset(s for dim in [*dims, self.matmul_flop, self.elementwise_flop] for s in dim.symbols)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for problem in filter(None, (rule(self) for rule in _KERNEL_RULES)):
            raise ValueError(f"kernel '{self.name}' {problem}")
        return self


def _rule_fc_has_shape(kernel: TraceKernel) -> str | None:
    is_fc = kernel.kernel_class is KernelClass.FC
    if is_fc and (kernel.role is None or kernel.fc is None):
        return "is of class fc; expected a 'role' and 'fc: {m, k, n}'"
    if not is_fc and (kernel.role or kernel.fc):
        return f"is of class {kernel.kernel_class}; 'role' and 'fc' belong to class fc"
    return None


def _rule_attention_has_heads(kernel: TraceKernel) -> str | None:
    if (kernel.kernel_class is KernelClass.ATTENTION) != (kernel.attention is not None):
        return "must have 'attention: {n_heads, n_kv_heads, head_dim}' if, and only if, its class is attention"
    return None


def _rule_fc_flop(kernel: TraceKernel) -> str | None:
    if kernel.fc is None:
        return None
    expected = kernel.fc.m * whole(2 * kernel.fc.k * kernel.fc.n)
    if kernel.matmul_flop != expected:
        return f"has matmul_flop {kernel.matmul_flop}, expected 2*m*k*n = {expected}"
    return None


def _rule_fc_weight(kernel: TraceKernel) -> str | None:
    if kernel.fc is None:
        return None
    expected = whole(kernel.fc.k * kernel.fc.n)
    if all(parameter.tensor.elements != expected for parameter in kernel.weights):
        return f"has no weight of k*n = {expected} elements"
    return None


def _rule_flop_add_up(kernel: TraceKernel) -> str | None:
    unfused = total(aten.flop for aten in kernel.aten)
    if kernel.aten and unfused != kernel.flop:
        return f"has {kernel.flop} FLOP, but its aten kernels have {unfused}"
    return None


def _rule_expert_rows(kernel: TraceKernel) -> str | None:
    if EXPERT_ROWS in kernel.symbols and not kernel.per_expert:
        return f"uses {EXPERT_ROWS} but is not per_expert"
    return None


_KERNEL_RULES: tuple[Callable[[TraceKernel], str | None], ...] = (
    _rule_fc_has_shape,
    _rule_attention_has_heads,
    _rule_fc_flop,
    _rule_fc_weight,
    _rule_flop_add_up,
    _rule_expert_rows,
)
