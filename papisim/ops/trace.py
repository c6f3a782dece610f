"""Kernel traces: what one decode iteration of a model launches, with symbolic dimensions.

A trace is a file ``traces/kernels/<model>/trace.yaml`` that ``papisim capture`` wrote from a real run through torch's
dispatcher. It lists *fused* kernels (what a serving engine launches) in launch order and, under each, the aten kernels
that torch dispatched for it. Bytes and FLOPs of both levels follow from the file:

- fused: :attr:`TraceKernel.read_bytes`, ``write_bytes``, ``matmul_flop``, ``elementwise_flop``. What one aten kernel of
  the group hands to the next does not count, as it stays on chip.
- unfused: the same of each :class:`AtenKernel`, or the sums :attr:`TraceKernel.unfused_read_bytes` and so on.

All are polynomials (:class:`papisim.ops.dims.Dim`); give them a point with :meth:`~papisim.ops.dims.Dim.at`, such as
``kernel.read_bytes.at({"RLP": 16, "TLP": 1, "KV": 1024})``.

FLOP conventions: a matrix product is ``2·m·n·k``; an elementwise kernel 1 per output element; a reduction 1 per input
element; softmax 5 and a fused layer norm 7 per input element; moving data is 0.

Reading needs neither torch nor trust: a trace is plain YAML, its dimensions a grammar of sums and products.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from papisim.config.base import Count, LargeCount, Name, Spec, parse
from papisim.config.yaml import load_yaml, while_unchanged
from papisim.errors import did_you_mean
from papisim.ops.dims import EXPERT_ROWS, SYMBOLS, Dim, parse_dim, product, total, whole
from papisim.ops.formats import AS_TRACED, Formats, Packed
from papisim.ops.kernel import FcRole, KernelClass

SCHEMA: Final = "papisim/kernel-trace/1"

#: torch's name of an element type → bytes of an element
ELEMENT_BYTES: Final = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip

Item = TypeVar("Item")
_TENSOR = re.compile(r"([a-z0-9_]+)\[([^\[\]]*)\]")
_LAYERS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def _read_dim(value: object) -> Dim:
    if isinstance(value, Dim):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        dim = whole(value)
    elif isinstance(value, str):
        dim = parse_dim(value)
    else:
        raise ValueError(f"found {value!r}, expected a dimension such as 4096 or RLP*TLP")
    if dim.at(dict.fromkeys(SYMBOLS, 1)) < 0:
        raise ValueError(f"found '{dim}', which is negative; expected a dimension such as 4096 or RLP*TLP")
    return dim


def _write_dim(dim: Dim) -> int | str:
    return str(dim) if dim.symbols else dim.constant


DimField = Annotated[Dim, BeforeValidator(_read_dim), PlainSerializer(_write_dim)]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An operand: element type and shape, written ``float16[RLP*TLP, 4096]``."""

    dtype: str
    shape: tuple[Dim, ...]

    @property
    def elements(self) -> Dim:
        """Number of elements."""
        return product(self.shape)

    @property
    def n_bytes(self) -> Dim:
        """Bytes of all elements."""
        return self.elements * whole(ELEMENT_BYTES[self.dtype])

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(str(dim) for dim in self.shape)}]"


def parse_tensor(text: object) -> Tensor:
    """Read a tensor as :meth:`Tensor.__str__` writes it.

    Raises:
        ValueError: not a tensor, an unknown element type, an unknown symbol, a negative dimension.
    """
    if isinstance(text, Tensor):
        return text
    match = _TENSOR.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"found {text!r}, expected a tensor such as float16[RLP*TLP, 4096]")
    dtype, dims = match[1], match[2].strip()
    if dtype not in ELEMENT_BYTES:
        raise ValueError(f"found the element type '{dtype}'; {did_you_mean(dtype, ELEMENT_BYTES)}")
    return Tensor(dtype, tuple(_read_dim(dim.strip()) for dim in dims.split(",")) if dims else ())


TensorField = Annotated[Tensor, BeforeValidator(parse_tensor), PlainSerializer(str)]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the model, written ``self_attn.q_proj.weight float16[4096, 4096]``."""

    name: str
    tensor: Tensor

    def __str__(self) -> str:
        return f"{self.name} {self.tensor}"


def _read_parameter(text: object) -> Parameter:
    if isinstance(text, Parameter):
        return text
    name, space, tensor = text.partition(" ") if isinstance(text, str) else ("", "", "")
    if not space:
        raise ValueError(f"found {text!r}, expected a parameter such as lm_head.weight float16[32000, 4096]")
    return Parameter(name, parse_tensor(tensor))


ParameterField = Annotated[Parameter, BeforeValidator(_read_parameter), PlainSerializer(str)]


class _TraceSpec(Spec):
    """A part of a trace; its quantities are polynomials in SI units, so none is written with a unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _read_quantity(cls, value: Any, info: ValidationInfo) -> Any:
        del info
        return value


def _not_empty(items: tuple[Item, ...]) -> tuple[Item, ...]:
    # not Field(min_length=1), which would report a list whose items are wrong as empty, too
    if not items:
        raise ValueError("found an empty list, expected at least one entry")
    return items


def _bytes_of(tensors: Iterable[Tensor]) -> Dim:
    return total(tensor.n_bytes for tensor in tensors)


class AtenKernel(_TraceSpec):
    """One aten kernel as torch dispatched it.

    Attributes:
        op: operator and overload, such as ``aten.mm.default``.
        inputs: its tensor operands, parameters included, as dispatched.
        outputs: what it returned; for an in-place operator the operand it changed.
        flop: its work, by the conventions of this module.
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
        """Bytes read from memory when it runs by itself."""
        return _bytes_of(self.inputs) if self.reads_bytes is None else self.reads_bytes

    @property
    def write_bytes(self) -> Dim:
        """Bytes written to memory when it runs by itself."""
        return _bytes_of(self.outputs) if self.writes_bytes is None else self.writes_bytes


class FcShape(_TraceSpec):
    """The matrix product of an FC kernel: ``(m, k)`` activations times a ``(k, n)`` weight."""

    m: DimField
    k: Count
    n: Count


class AttentionShape(_TraceSpec):
    """The heads of an attention kernel; ``n_heads`` is a multiple of ``n_kv_heads``."""

    n_heads: Count
    n_kv_heads: Count
    head_dim: Count


class TraceKernel(_TraceSpec):
    """One fused kernel, for the whole batch, in one layer.

    Attributes:
        name: module path within the layer, such as ``self_attn.q_proj``.
        kernel_class: how it is scheduled and reported.
        role: what an FC kernel is in its layer; None for the other classes.
        fc: the matrix product; FC kernels only.
        attention: the heads; attention kernels only.
        per_expert: it runs once for each expert that got rows, on its ``EXPERT_ROWS`` rows, with that expert's own
            parameters; consecutive per-expert kernels run together, expert by expert.
        weights: parameters streamed from memory in full.
        tables: parameters of which only the rows counted in ``reads`` are read (embeddings).
        reads: what it reads besides ``weights``; a cached K or V is a read of all its tokens at the heads of the cache.
        writes: what it writes and another kernel reads.
        matmul_flop: FLOPs of matrix products.
        elementwise_flop: all other FLOPs.
        aten: the aten kernels it consists of; empty where ``replaces`` stands.
        replaces: names of the aten operators that torch ran on meta tensors in place of this one kernel. A note only:
            which they are depends on torch's decomposition, not on the model.
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
        return _bytes_of(parameter.tensor for parameter in self.weights)

    @cached_property
    def read_bytes(self) -> Dim:
        """Bytes read: parameters and operands that come from outside the fused group."""
        return self.weight_bytes + _bytes_of(self.reads)

    @cached_property
    def write_bytes(self) -> Dim:
        """Bytes written for other kernels."""
        return _bytes_of(self.writes)

    @cached_property
    def flop(self) -> Dim:
        """All its work."""
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
        """Every symbol that any of its dimensions uses."""
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


class Block(_TraceSpec):
    """A sequence of kernels that runs once, or once for each of several identical layers.

    Attributes:
        name: what it is, such as ``layer``.
        layers: the layers it stands for, ``0-31`` or ``7``; None for work outside the layers.
        kernels: in launch order.
    """

    name: Name
    layers: str | None = None
    kernels: Annotated[tuple[TraceKernel, ...], AfterValidator(_not_empty)]

    @field_validator("layers", mode="before")
    @classmethod
    def _read_layers(cls, value: object) -> object:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        match = _LAYERS.fullmatch(text) if isinstance(text, str) else None
        if value is not None and (match is None or int(match[2] or match[1]) < int(match[1])):
            raise ValueError(f"found {value!r}, expected a layer such as 7 or a range such as 0-31")
        return text

    @property
    def layer_range(self) -> range:
        """The indices of the layers it stands for; empty outside the layers."""
        if self.layers is None:
            return range(0)
        first, _, last = self.layers.partition("-")
        return range(int(first), int(last or first) + 1)

    @property
    def repeats(self) -> int:
        """How often it runs in one iteration."""
        return len(self.layer_range) or 1


class PackedWeights(_TraceSpec):
    """How a model's published weights are stored: ``quantization_config`` of its ``config.json``.

    Attributes:
        method: name of the scheme, such as ``fp8`` or ``awq``.
        bits: bits of a weight.
        group: weights of one output that share a scale.
        scale_bits: bits of a scale, its zero point included.
        rows: outputs that share a scale; more than 1 for scales of blocks.
        input_bits: bits of the inputs that FC kernels multiply; None as traced.
        kept: path prefixes, within a layer, of modules whose weights are not packed.
    """

    method: Name
    bits: Literal[4, 8]
    group: Count
    scale_bits: Annotated[int, Field(ge=0)]
    rows: Count = 1
    input_bits: Literal[8, 16] | None = None
    kept: tuple[str, ...] = ()

    @property
    def format(self) -> Packed:
        """The storage format of a packed matrix."""
        return Packed(self.bits, self.group, self.scale_bits, self.rows)

    def packs(self, kernel: str) -> bool:
        """Tell whether the weights of a kernel, given by its name within the layer, are packed."""
        return not any(kernel == name or kernel.startswith(f"{name}.") for name in self.kept)


class ModelFacts(_TraceSpec):
    """What the model is; counts are of the whole model.

    Attributes:
        model_type: transformers' name of the architecture.
        n_layers: decoder layers.
        hidden_size: width of the residual stream.
        n_heads: query heads.
        n_kv_heads: heads of the KV cache.
        head_dim: width of a head.
        vocab_size: rows of the LM head.
        intermediate_size: width of the feed-forward network (of one expert).
        dtype: element type of the weights and the cache.
        n_parameters: parameters, shared ones counted once.
        tied_embeddings: the LM head's weight is the token embedding.
        n_experts: experts of a layer; 0 for a dense model.
        n_experts_per_token: experts that each token is sent to; 0 for a dense model.
        max_positions: longest context that the model is configured for, in tokens; None if its configuration does not say.
        learned_positions: positions are rows of a learned table, so that none beyond ``max_positions`` exists; otherwise
            (rotary, ALiBi) longer contexts run, outside what the model was trained for.
        packed: how the published weights are stored, where that is not ``dtype``.
    """

    model_type: Name
    n_layers: Count
    hidden_size: Count
    n_heads: Count
    n_kv_heads: Count
    head_dim: Count
    vocab_size: Count
    intermediate_size: Count
    dtype: Name
    n_parameters: LargeCount
    tied_embeddings: bool
    n_experts: Annotated[int, Field(ge=0)] = 0
    n_experts_per_token: Annotated[int, Field(ge=0)] = 0
    max_positions: Count | None = None
    learned_positions: bool = False
    packed: PackedWeights | None = None

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, value: str) -> str:
        if value not in ELEMENT_BYTES:
            raise ValueError(f"found the element type '{value}'; {did_you_mean(value, ELEMENT_BYTES)}")
        return value

    @property
    def element_bytes(self) -> int:
        """Bytes of a weight or of an element of the cache."""
        return ELEMENT_BYTES[self.dtype]


class Point(_TraceSpec):
    """Where a capture ran: requests, new tokens of each, tokens of each in the cache."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    rlp: Count = Field(alias="RLP")
    tlp: Count = Field(alias="TLP")
    kv: Count = Field(alias="KV")

    @property
    def symbols(self) -> dict[str, int]:
        """The values of the symbols, for :meth:`papisim.ops.dims.Dim.at`."""
        return {"RLP": self.rlp, "TLP": self.tlp, "KV": self.kv}

    def __str__(self) -> str:
        return f"RLP {self.rlp}, TLP {self.tlp}, KV {self.kv}"


class Provenance(_TraceSpec):
    """Where a trace comes from.

    Attributes:
        command: what wrote it.
        date: the day it was written, ISO 8601, UTC.
        torch: version of torch.
        transformers: version of transformers.
        config_sha256: SHA-256 of the bytes of the ``config.json`` beside the trace.
        structure_sha256: SHA-256 of the captured model facts and blocks (:meth:`KernelTrace.structure_sha256`), so that a
            trace that was edited by hand is refused; None in traces written before 0.2.0.
        captured_at: the points whose shapes were lifted to symbols.
        verified_at: further points at which the lifted kernels equal the captured ones exactly.
    """

    command: Name
    date: Name
    torch: Name
    transformers: Name
    config_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    structure_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    captured_at: tuple[Point, ...]
    verified_at: Annotated[tuple[Point, ...], AfterValidator(_not_empty)]


class KernelTrace(_TraceSpec):
    """A captured decode iteration, with symbolic dimensions.

    Attributes:
        schema_name: version of the format, ``schema`` in the file.
        name: the model's name here.
        provenance: where it comes from.
        model: facts about the model.
        blocks: in launch order; together they hold every layer exactly once.
    """

    schema_name: Literal["papisim/kernel-trace/1"] = Field(default=SCHEMA, alias="schema")
    name: Name
    provenance: Provenance
    model: ModelFacts
    blocks: Annotated[tuple[Block, ...], AfterValidator(_not_empty)]
    _formats: Formats = PrivateAttr(default=AS_TRACED)

    @property
    def formats(self) -> Formats:
        """What weights and caches are stored in."""
        private = self.__pydantic_private__  # as attribute access does, without its search through the class
        assert private is not None
        return cast("Formats", private["_formats"])

    def stored_as(self, formats: Formats) -> Self:
        """Return the same model with weights and caches stored in other formats."""
        model = self.model_copy()
        model._formats = formats
        return model

    @field_validator("blocks")
    @classmethod
    def _launchable(cls, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        names = [block.name for block in blocks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two blocks have the name '{twice}'")
        return blocks

    @model_validator(mode="after")
    def _check(self) -> Self:
        ranges = [block.layer_range for block in self.blocks if block.layers is not None]
        ends = [0, *(layers.stop for layers in ranges)]
        if ends != [*(layers.start for layers in ranges), self.model.n_layers]:
            shown = ", ".join(block.layers for block in self.blocks if block.layers) or "none"
            raise ValueError(
                f"found blocks for the layers {shown}, expected each of the model's {self.model.n_layers} layers once"
            )
        if not self.model.n_experts and any(kernel.per_expert for block in self.blocks for kernel in block.kernels):
            raise ValueError("found per_expert kernels in a model with n_experts 0")
        for problem in filter(None, (rule(self) for rule in _TRACE_RULES)):
            raise ValueError(problem)
        return self

    @property
    def structure_sha256(self) -> str:
        """SHA-256 of what a step is priced from: the model facts and the blocks, in hexadecimal."""
        fields = self.model_dump(mode="json", include={"model", "blocks"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def kernels(self) -> Iterator[tuple[TraceKernel, int]]:
        """Yield each kernel with how often it runs in one iteration, experts of one layer not counted."""
        for block in self.blocks:
            for kernel in block.kernels:
                yield kernel, block.repeats

    @cached_property
    def fc_weight_bytes(self) -> int:
        """Bytes of the matrices of all FC kernels, all layers and experts included, biases excluded."""
        element = self.model.element_bytes
        return sum(
            kernel.fc.k * kernel.fc.n * element * repeats * (self.model.n_experts if kernel.per_expert else 1)
            for kernel, repeats in self.kernels()
            if kernel.fc is not None
        )


def _rule_attention_is_the_models(trace: KernelTrace) -> str | None:
    model = trace.model
    for block in trace.blocks:
        attention = [kernel for kernel in block.kernels if kernel.attention is not None]
        appends = sum(kernel.kernel_class is KernelClass.KV_APPEND for kernel in block.kernels)
        if block.layers is not None and (len(attention) != 1 or appends != 1):
            return (
                f"block '{block.name}' has {len(attention)} attention and {appends} KV append kernels, expected one of each "
                "in a layer"
            )
        for kernel in attention:
            shape, facts = kernel.attention, (model.n_heads, model.n_kv_heads, model.head_dim)
            if shape is not None and (shape.n_heads, shape.n_kv_heads, shape.head_dim) != facts:
                return (
                    f"kernel '{kernel.name}' has (n_heads, n_kv_heads, head_dim) = "
                    f"({shape.n_heads}, {shape.n_kv_heads}, {shape.head_dim}), but the model {facts}"
                )
    return None


def _rule_parameters_add_up(trace: KernelTrace) -> str | None:
    """Every parameter is read by one kernel, but a token embedding tied to the LM head by two."""
    model = trace.model
    found = sum(
        parameter.tensor.elements.constant * repeats * (model.n_experts if kernel.per_expert else 1)
        for kernel, repeats in trace.kernels()
        for parameter in (*kernel.weights, *kernel.tables)
    )
    found -= model.vocab_size * model.hidden_size if model.tied_embeddings else 0
    if found != model.n_parameters:
        return f"has kernels with {found} parameters in all, but the model has n_parameters {model.n_parameters}"
    return None


def _rule_structure_is_the_captured_one(trace: KernelTrace) -> str | None:
    expected = trace.provenance.structure_sha256
    if expected is not None and expected != trace.structure_sha256:
        return (
            "was edited after its capture: its model facts and kernels are not those of provenance.structure_sha256; "
            "capture the model again"
        )
    return None


_TRACE_RULES: tuple[Callable[[KernelTrace], str | None], ...] = (
    _rule_attention_is_the_models,
    _rule_parameters_add_up,
    _rule_structure_is_the_captured_one,
)


@while_unchanged
def read_trace(path: Path | str) -> KernelTrace:
    """Read and check a trace file.

    Raises:
        InputError, InputErrors: everything that is wrong with it, each with file, line, column and field.
    """
    return parse(KernelTrace, load_yaml(path))
