"""Kernel traces: the kernels that one decode iteration of a model launches, with symbolic dimensions.

A trace is a file ``traces/kernels/<model>/trace.yaml`` that ``papisim capture`` wrote from a real run through torch's
dispatcher. It lists *fused* kernels (what a serving engine launches) in launch order and, under each, the aten kernels
that torch dispatched for it. Bytes and FLOPs of both levels follow from the file:

- fused: :attr:`~papisim.ops.trace_kernels.TraceKernel.read_bytes`, ``write_bytes``, ``matmul_flop``, ``elementwise_flop``. Tensors
  that one aten kernel of the group hands to the next do not count, as they stay on chip.
- unfused: the same of each :class:`~papisim.ops.trace_kernels.AtenKernel`, or the sums ``TraceKernel.unfused_read_bytes`` and so on.

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
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar, cast

from pydantic import AfterValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from papisim.config.base import Count, LargeCount, Name, parse
from papisim.config.yaml import load_yaml, while_unchanged
from papisim.errors import did_you_mean
from papisim.ops.dims import RLP, TLP, symbol, whole
from papisim.ops.formats import AS_TRACED, Formats, Packed
from papisim.ops.kernel import KernelClass
from papisim.ops.tensors import ELEMENT_BYTES, TraceSpec
from papisim.ops.trace_kernels import JOINT, AttentionShape, TraceKernel

SCHEMA: Final = "papisim/kernel-trace/1"

Item = TypeVar("Item")
_LAYERS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def _not_empty(items: tuple[Item, ...]) -> tuple[Item, ...]:
    # not Field(min_length=1), which would report a list whose items are wrong as empty, too
    if not items:
        raise ValueError("found an empty list, expected at least one entry")
    return items


class Block(TraceSpec):
    """A sequence of kernels that runs once, or once for each of several identical layers.

    Attributes:
        name: name of the block, such as ``layer``.
        layers: the layers of the block, ``0-31``, ``7``, or several of these in order, ``0-4,6-10``; None for work outside the
            layers.
        kernels: in launch order.
    """

    name: Name
    layers: str | None = None
    kernels: Annotated[tuple[TraceKernel, ...], AfterValidator(_not_empty)]

    @field_validator("layers", mode="before")
    @classmethod
    def _read_layers(cls, value: object) -> object:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if value is not None and not (isinstance(text, str) and _are_layers(text)):
            raise ValueError(f"found {value!r}, expected layers in order such as 7, 0-31 or 0-4,6-10")
        return text

    @cached_property
    def layer_indices(self) -> tuple[int, ...]:
        """The indices of the block's layers; empty outside the layers."""
        parts = [] if self.layers is None else [part.partition("-") for part in self.layers.split(",")]
        return tuple(index for first, _, last in parts for index in range(int(first), int(last or first) + 1))

    @property
    def repeats(self) -> int:
        """Number of runs of the block in one iteration."""
        return len(self.layer_indices) or 1

    @cached_property
    def attention(self) -> tuple[AttentionShape, ...]:
        """The attention kernels of the block, in launch order."""
        return tuple(kernel.attention for kernel in self.kernels if kernel.attention is not None)

    @cached_property
    def appended(self) -> tuple[AttentionShape, ...]:
        """The attention whose caches the block's layers append to."""
        return tuple(shape for shape in self.attention if shape.appends)

    @cached_property
    def state_bytes(self) -> int:
        """Bytes of the states that one request has in one layer of the block."""
        return sum(kernel.state_bytes or 0 for kernel in self.kernels)


def _are_layers(text: str) -> bool:
    """Tell whether a text names layers in ascending order."""
    matches = [_LAYERS.fullmatch(part) for part in text.split(",")]
    ends = [int(end) for match in matches if match for end in (match[1], match[2] or match[1])]
    ordered = all(a <= b for a, b in pairwise(ends)) and all(a < b for a, b in pairwise(ends[::2]))
    return None not in matches and ordered and all(a < b for a, b in zip(ends[1::2], ends[2::2], strict=False))


class PackedWeights(TraceSpec):
    """Storage of a model's published weights: ``quantization_config`` of its ``config.json``.

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
    group: LargeCount
    scale_bits: Annotated[int, Field(ge=0)]
    rows: Count = 1
    input_bits: Literal[8, 16] | None = None
    kept: tuple[str, ...] = ()

    @property
    def format(self) -> Packed:
        """The storage format of a packed matrix."""
        return Packed(self.bits, self.group, self.scale_bits, self.rows)

    def packs(self, kernel: str) -> bool:
        """Whether the weights of a kernel, given by its name within the layer, are packed.

        A merged kernel is named after its parts, which are packed alike.
        """
        kernel = kernel.partition(JOINT)[0]
        return not any(kernel == name or kernel.startswith(f"{name}.") for name in self.kept)


#: a count of what a model may be without
CountOrNone = Annotated[int, Field(ge=0, le=10**7)]


class ModelFacts(TraceSpec):
    """Facts about the model; counts are of the whole model.

    Attributes:
        model_type: transformers' name of the architecture.
        n_layers: decoder layers.
        hidden_size: width of the residual stream.
        n_heads: query heads of the first attention kernel with a context; layers may differ. 0 for a model without attention, as all of them.
        n_kv_heads: heads of the KV cache of that kernel.
        head_dim: width of its Q and K.
        vocab_size: rows of the LM head.
        intermediate_size: width of the feed-forward network (of one expert); 0 without one.
        dtype: element type of the weights and the cache.
        n_parameters: parameters, shared ones counted once.
        tied_embeddings: the LM head's weight is the token embedding.
        n_experts: experts of a layer; 0 for a dense model.
        n_experts_per_token: experts that each token is sent to; 0 for a dense model.
        max_positions: longest context that the model is configured for, in tokens; None if its configuration has none.
        learned_positions: positions are rows of a learned table, so that none beyond ``max_positions`` exists; otherwise
            (rotary, ALiBi) longer contexts run, outside what the model was trained for.
        packed: how the published weights are stored, where that is not ``dtype``.
    """

    model_type: Name
    n_layers: Count
    hidden_size: Count
    n_heads: CountOrNone
    n_kv_heads: CountOrNone
    head_dim: CountOrNone
    vocab_size: Count
    intermediate_size: CountOrNone
    dtype: Name
    n_parameters: LargeCount
    tied_embeddings: bool
    n_experts: Annotated[int, Field(ge=0)] = 0
    n_experts_per_token: Annotated[int, Field(ge=0)] = 0
    max_positions: LargeCount | None = None
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


class Point(TraceSpec):
    """A point of a capture: requests, new tokens per request, cached tokens per request."""

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


class Provenance(TraceSpec):
    """The provenance of a trace.

    Attributes:
        command: command that wrote the trace.
        date: day of the capture, ISO 8601, UTC.
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


class KernelTrace(TraceSpec):
    """A captured decode iteration, with symbolic dimensions.

    Attributes:
        schema_name: version of the format, ``schema`` in the file.
        name: the model's name here.
        provenance: origin of the trace.
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
        """Storage formats of weights and caches."""
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
        indices = sorted(index for block in self.blocks for index in block.layer_indices)
        if indices != list(range(self.model.n_layers)):
            shown = ", ".join(block.layers for block in self.blocks if block.layers) or "none"
            raise ValueError(
                f"found blocks for the layers {shown}, expected each of the model's {self.model.n_layers} layers once"
            )
        if not self.model.n_experts and self.has_experts:
            raise ValueError("found per_expert kernels in a model with n_experts 0")
        for problem in filter(None, (rule(self) for rule in _TRACE_RULES)):
            raise ValueError(problem)
        return self

    @cached_property
    def structure_sha256(self) -> str:
        """SHA-256 of the model facts and the blocks, from which steps are priced, in hexadecimal."""
        fields = self.model_dump(mode="json", include={"model", "blocks"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def layer(self, index: int) -> Block:
        """Return the block of a layer."""
        return next(block for block in self.blocks if index in block.layer_indices)

    def kernels(self) -> Iterator[tuple[TraceKernel, int]]:
        """Yield each kernel with the number of its runs in one iteration, experts of one layer not counted."""
        for block in self.blocks:
            for kernel in block.kernels:
                yield kernel, block.repeats

    @property
    def has_experts(self) -> bool:
        """Whether some kernels are experts'."""
        return any(kernel.per_expert for block in self.blocks for kernel in block.kernels)

    @property
    def has_states(self) -> bool:
        """Whether some layers keep a state, which follows one chain of tokens."""
        return any(block.state_bytes for block in self.blocks)

    @cached_property
    def fc_weight_bytes(self) -> int:
        """Bytes of the matrices of all FC kernels, all layers and experts included, biases excluded."""
        element = self.model.element_bytes
        return sum(
            kernel.fc.groups
            * kernel.fc.k
            * kernel.fc.n
            * element
            * repeats
            * (self.model.n_experts if kernel.per_expert else 1)
            for kernel, repeats in self.kernels()
            if kernel.fc is not None
        )


def _rule_layers_are_together(trace: KernelTrace) -> str | None:
    of_layers = [bool(block.layer_indices) for block in trace.blocks]
    first, end = of_layers.index(True), len(of_layers) - of_layers[::-1].index(True)
    if not all(of_layers[first:end]):
        return "has blocks outside the layers between those of layers, expected them before or after all layers"
    return None


def _rule_attention_is_the_models(trace: KernelTrace) -> str | None:
    model, shapes = trace.model, (shape for block in trace.blocks for shape in block.attention if shape.value_width)
    first = next(((shape.n_heads, shape.n_kv_heads, shape.head_dim) for shape in shapes), (0, 0, 0))
    facts = (model.n_heads, model.n_kv_heads, model.head_dim)
    if first != facts:
        return f"has a first attention kernel with (n_heads, n_kv_heads, head_dim) = {first}, but the model {facts}"
    return None


def _rule_layers_append_what_they_read(trace: KernelTrace) -> str | None:
    for block in trace.blocks:
        appends = [kernel for kernel in block.kernels if kernel.kernel_class is KernelClass.KV_APPEND]
        if len(appends) != bool(block.appended) or (block.attention and block.layers is None):
            return (
                f"has the block '{block.name}' with {len(block.attention)} attention kernels, {len(block.appended)} of them with "
                f"caches of their own, and {len(appends)} KV append kernels; expected one append in a layer with caches, else none"
            )
        elements = sum(shape.cached_elements for shape in block.appended)
        expected = symbol(RLP) * symbol(TLP) * whole(elements * trace.model.element_bytes)
        if appends and appends[0].write_bytes != expected:
            return f"has the append '{appends[0].name}' of {appends[0].write_bytes} bytes, but its caches take {expected}"
        for shape in block.attention:
            other = shape.cache.of_layer
            if other is not None and not (other < trace.model.n_layers and trace.layer(other).appended):
                return f"has the block '{block.name}', which reads the cache of layer {other}, which keeps none"
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
    _rule_layers_are_together,
    _rule_attention_is_the_models,
    _rule_layers_append_what_they_read,
    _rule_parameters_add_up,
    _rule_structure_is_the_captured_one,
)


@while_unchanged
def read_trace(path: Path | str) -> KernelTrace:
    """Read and check a trace file.

    Raises:
        InputError, InputErrors: all errors of the file, each with file, line, column and field.
    """
    return parse(KernelTrace, load_yaml(path))
