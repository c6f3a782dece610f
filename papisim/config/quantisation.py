"""In what widths weights, KV caches and FC inputs are held: the ``quantisation:`` section of an experiment."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from papisim.config.base import Count, Spec

#: width that traces are captured in, and that stays where nothing else is said
AS_TRACED_BITS = 16


class WeightSpec(Spec):
    """Widths of the weights of one role; fields as in :class:`QuantisationSpec`."""

    weight_bits: Literal[16, 8, 4]
    activation_bits: Literal[16, 8, 4] = 16
    group: Count = 128
    scale_bits: Annotated[int, Field(ge=0)] = 16
    scale_rows: Count = 1

    @model_validator(mode="after")
    def _inputs_are_no_narrower(self) -> Self:
        _check_inputs(self)
        return self


class QuantisationSpec(Spec):
    """Widths of what a model keeps and moves; 16 is the trace's own FP16 or BF16.

    Weight-only quantisation (GPTQ, AWQ) packs the matrices of the decoder layers and leaves embeddings, LM head, routers
    and norms; kernels widen them to the inputs' width on chip. Eight bits are FP8 or INT8, which have equal size and speed.

    Attributes:
        weight_bits: of a weight.
        kv_bits: of an element of the KV cache.
        activation_bits: of an input of FC kernels on GPUs; 8 and 4 run them at the tensor cores' rate of that width. PIM units take
            inputs as traced.
        group: weights of an output, or elements of a token's head, that share a scale.
        scale_bits: of a scale, with its zero point where there is one; 0 where one scale serves a whole tensor.
        scale_rows: outputs of a weight that share scales; 128 with groups of 128 are DeepSeek-V3's blocks.
        kv_group: elements of a token's head that share a scale; as ``group``, if None.
        kv_scale_bits: of a scale of the KV cache; as ``scale_bits``, if None.
        attention: weights of QKV and projection, where they differ; 16 bits are as traced.
        feed_forward: weights of feed-forward networks outside experts, where they differ.
        experts: weights of experts, where they differ: gpt-oss has MXFP4 experts, four bits in groups of 32 with 8-bit scales.
    """

    weight_bits: Literal[16, 8, 4] = 16
    kv_bits: Literal[16, 8, 4] = 16
    activation_bits: Literal[16, 8, 4] = 16
    group: Count = 128
    scale_bits: Annotated[int, Field(ge=0)] = 16
    scale_rows: Count = 1
    kv_group: Count | None = None
    kv_scale_bits: Annotated[int, Field(ge=0)] | None = None
    attention: WeightSpec | None = None
    feed_forward: WeightSpec | None = None
    experts: WeightSpec | None = None

    @model_validator(mode="after")
    def _inputs_are_no_narrower(self) -> Self:
        _check_inputs(self)
        return self


def _check_inputs(spec: WeightSpec | QuantisationSpec) -> None:
    if spec.activation_bits < spec.weight_bits:
        raise ValueError(
            f"found activation_bits {spec.activation_bits} with weight_bits {spec.weight_bits}, expected weight_bits of "
            f"at most {spec.activation_bits}: tensor cores multiply both in the inputs' width"
        )
