"""The kernels of a trace, fused and as torch dispatched them, with the rules that each kernel keeps.

Bytes and FLOPs of both levels are polynomials; see :mod:`papisim.ops.trace` for the conventions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from papisim.config.base import Count, LargeCount, Name
from papisim.ops.dims import EXPERT_ROWS, KV, Dim, total, whole
from papisim.ops.kernel import FcRole, KernelClass
from papisim.ops.reach import Reach, Sees
from papisim.ops.tensors import DimField, ParameterField, TensorField, TraceSpec, bytes_of

#: name of the kernel of a draft head that fuses features of its target, once per round
FEATURES: Final = "fuse_features"
#: joins the names of the parts of a merged kernel
JOINT: Final = "+"


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
    """The matrix product of an FC kernel: ``(m, k)`` activations times a ``(k, n)`` weight.

    Attributes:
        m: token-rows.
        k: inputs.
        n: outputs.
        groups: products of this shape in one launch, each of ``m`` rows and with a weight of its own, such as one per head.
    """

    m: DimField
    k: Count
    n: Count
    groups: Count = 1


class CacheSpec(TraceSpec):
    """The cache that an attention kernel reads.

    Attributes:
        sees: which cached tokens a query sees (:mod:`papisim.ops.reach`).
        tokens: tokens of the window, of a chunk, or selected; None with ``full``.
        latent: V is the first part of K, so that both are stored, and read, once (multi-head latent attention, DeepSeek-V2,
            2024, Section 2.1).
        of_layer: the layer whose cache is read, where that is another; nothing is appended then.
    """

    sees: Sees = "full"
    tokens: Count | None = None
    latent: bool = False
    of_layer: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.sees == "full") != (self.tokens is None):
            raise ValueError(f"'tokens' belongs to every cache but a full one, found {self.tokens} of '{self.sees}'")
        return self


class PromptHeads(TraceSpec):
    """The heads of attention to prompts, where K and V are expanded from a latent cache."""

    n_kv_heads: Count
    head_dim: Count
    value_dim: Count


class AttentionShape(TraceSpec):
    """The heads of an attention kernel; ``n_heads`` is a multiple of ``n_kv_heads``.

    Attributes:
        n_heads: query heads.
        n_kv_heads: heads of the cache.
        head_dim: width of Q and K.
        value_dim: width of V and of the context, where that differs from ``head_dim``; 0 for scores without a context, such as
            those by which an indexer selects.
        cache: the cache that is read.
        prompt: the heads of prompts, where they differ.
    """

    n_heads: Count
    n_kv_heads: Count
    head_dim: Count
    value_dim: Annotated[int, Field(ge=0)] | None = None
    cache: CacheSpec = CacheSpec()
    prompt: PromptHeads | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cache.latent and self.value_width > self.head_dim:
            raise ValueError(
                f"found V of {self.value_width} in a latent cache of {self.head_dim}, expected a part of it"
            )
        return self

    @property
    def value_width(self) -> int:
        """Width of V and of the context."""
        return self.head_dim if self.value_dim is None else self.value_dim

    @property
    def cached_elements(self) -> int:
        """Elements that a token has in the cache."""
        return self.n_kv_heads * (self.head_dim + (0 if self.cache.latent else self.value_width))

    @property
    def appends(self) -> bool:
        """Whether the layer keeps the cache that it reads."""
        return self.cache.of_layer is None

    @cached_property
    def reach(self) -> Reach:
        """The cached tokens that a query sees."""
        return Reach(self.cache.sees, self.cache.tokens or 0)

    @property
    def kind(self) -> str:
        """The kind of the cache in words, such as ``window 4096`` or ``latent 576``."""
        words = [str(self.reach)] if self.reach.is_bounded else []
        words += [f"latent {self.head_dim}"] if self.cache.latent else []
        words += [f"of layer {self.cache.of_layer}"] if self.cache.of_layer is not None else []
        return ", ".join(words) or "full"


class TraceKernel(TraceSpec):
    """One fused kernel, for the whole batch, in one layer.

    Attributes:
        name: module path within the layer, such as ``self_attn.q_proj``.
        kernel_class: class by which the kernel is placed and reported.
        role: role of an FC kernel in its layer; None for the other classes.
        fc: the matrix product; FC kernels only.
        attention: the heads and the cache; attention kernels only.
        state_bytes: bytes of the state that one request has in one layer; state kernels only.
        per_expert: the kernel runs once per expert with rows, on its ``EXPERT_ROWS`` rows, with that expert's own
            parameters; consecutive per-expert kernels run together, expert by expert.
        weights: parameters streamed from memory in full.
        tables: parameters of which only the rows counted in ``reads`` are read (embeddings).
        reads: tensors read besides ``weights``; a cached K or V is a read of all its tokens at the heads of the cache, also where
            ``attention.cache`` lets a query see fewer, and so are the FLOPs of the attention.
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
    state_bytes: LargeCount | None = None
    per_expert: bool = False
    weights: tuple[ParameterField, ...] = ()
    tables: tuple[ParameterField, ...] = ()
    reads: tuple[TensorField, ...] = ()
    writes: tuple[TensorField, ...] = ()
    matmul_flop: DimField = whole(0)
    elementwise_flop: DimField = whole(0)
    aten: tuple[AtenKernel, ...] = ()
    replaces: tuple[str, ...] = ()

    @property
    def is_merged(self) -> bool:
        """Whether the kernel is several captured ones that an engine launches as one; its name joins theirs."""
        return JOINT in self.name

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


def _rule_state_has_bytes(kernel: TraceKernel) -> str | None:
    if (kernel.kernel_class is KernelClass.STATE) != (kernel.state_bytes is not None):
        return "must have 'state_bytes' if, and only if, its class is state"
    if kernel.kernel_class is KernelClass.STATE and KV in kernel.symbols:
        return f"uses {KV}, but a state does not grow with the cache"
    return None


def _rule_fc_flop(kernel: TraceKernel) -> str | None:
    if kernel.fc is None:
        return None
    expected = kernel.fc.m * whole(2 * kernel.fc.k * kernel.fc.n * kernel.fc.groups)
    if kernel.matmul_flop != expected:
        return f"has matmul_flop {kernel.matmul_flop}, expected 2*m*k*n*groups = {expected}"
    return None


def _rule_fc_weight(kernel: TraceKernel) -> str | None:
    if kernel.fc is None:
        return None
    expected = whole(kernel.fc.k * kernel.fc.n * kernel.fc.groups)
    if all(parameter.tensor.elements != expected for parameter in kernel.weights):
        return f"has no weight of k*n*groups = {expected} elements"
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
    _rule_state_has_bytes,
    _rule_fc_flop,
    _rule_fc_weight,
    _rule_flop_add_up,
    _rule_expert_rows,
)
