"""Capture a model: record at the points of a grid, lift, verify at further points, and record the provenance."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

import torch
import transformers
from pydantic import ValidationError

from papisim.errors import InputError, NotModelled
from papisim.ops.kernel import FcRole
from papisim.ops.trace import KernelTrace, ModelFacts, Point, Provenance
from papisim.ops.trace_kernels import TraceKernel
from papisim.tracing.classify import Layout, PlacedKernel, classify
from papisim.tracing.decode import Decoder, build, layers_path
from papisim.tracing.lift import CHECKS, GRID, SURVEY, fold, kinds, lift, spread, verify
from papisim.tracing.models import ModelSource
from papisim.tracing.published import DEFAULT_DTYPE, dtype_of, packed_weights
from papisim.tracing.routing import Routing

#: seed of the routers drawn while capturing; the trace does not depend on it
SEED: Final = 0

Progress = Callable[[str], None]


def capture(source: ModelSource, command: str, progress: Progress = lambda _: None) -> KernelTrace:
    """Capture a model's decode iteration as a verified trace.

    Args:
        source: the model.
        command: what to name as the trace's origin.
        progress: told what is going on, one line at a time.

    Raises:
        InputError: the configuration is wrong.
        NotModelled: the model cannot be expressed as a trace.
        CheckFailed: the lifted kernels are not the captured ones at a further point.
    """
    config = source.config(progress)
    dtype = dtype_of(source.fields, source.file)
    if dtype is None:
        dtype = DEFAULT_DTYPE
        progress(f"{source.file} names no torch_dtype: weights and caches are captured in {dtype}")
    packed = packed_weights(source.fields, config.get_text_config(decoder=True).num_hidden_layers, source.file)
    progress(f"building {source.name} on the meta device")
    decoder = Decoder(build(config, source.name, dtype), source.name)
    lifted = _lifted(decoder, progress)
    facts = _facts(decoder, [kernel.kernel for kernel in lifted], dtype).model_copy(update={"packed": packed})
    try:
        trace = KernelTrace(
            name=source.name, provenance=_provenance(source, command), model=facts, blocks=fold(lifted)
        )
    except ValidationError as error:
        raise NotModelled(f"{source.name}: the captured model {_rule_of(error)}") from error
    provenance = trace.provenance.model_copy(update={"structure_sha256": trace.structure_sha256})
    return trace.model_copy(update={"provenance": provenance})


def _sources(capture: list[PlacedKernel]) -> frozenset[int]:
    """Return the layers whose caches other layers read."""
    shapes = (kernel.kernel.attention for kernel in capture)
    return frozenset(shape.cache.of_layer for shape in shapes if shape and shape.cache.of_layer is not None)


def _rule_of(error: ValidationError) -> str:
    return "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())


def _lifted(decoder: Decoder, progress: Progress) -> list[PlacedKernel]:
    """Capture and lift the kernels of all layers.

    One iteration of one token shows which layers are equal. The first of each are captured at the grid, with some of the
    experts. Verified are, at one point, all layers, and at the others the first of each kind with all experts.
    """
    layout, experts = Layout(layers_path(decoder.model, decoder.name)), decoder.experts
    every = Routing(experts.n_experts, experts.n_per_token, seed=SEED)
    some = replace(every, n_used=2 * experts.n_per_token)

    def captured(point: Point, routing: Routing, only: Collection[int] | None) -> list[PlacedKernel]:
        progress(f"capturing at {point}" + (", all layers" if only is None else ""))
        return classify(decoder.record(point, routing, only), layout)

    survey = captured(SURVEY, some, None)
    equals = kinds(survey, len(decoder.layers))
    firsts = frozenset(equals) | _sources(survey)
    of_kinds = lift([captured(point, some, firsts) for point in GRID])
    lifted = spread(of_kinds, equals)
    for point in CHECKS:
        if point.tlp == 1:
            verify(lifted, captured(point, some, None), point)
        else:
            verify(of_kinds, captured(point, every, firsts), point)
    return lifted


def _facts(decoder: Decoder, kernels: list[TraceKernel], dtype: str) -> ModelFacts:
    model, config, experts = decoder.model, decoder.model.config, decoder.experts
    shape = next((kernel.attention for kernel in kernels if kernel.attention and kernel.attention.value_width), None)
    output, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    return ModelFacts(
        model_type=config.model_type,
        n_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        n_heads=shape.n_heads if shape else 0,
        n_kv_heads=shape.n_kv_heads if shape else 0,
        head_dim=shape.head_dim if shape else 0,
        vocab_size=getattr(config, "draft_vocab_size", None) or config.vocab_size,
        intermediate_size=_intermediate_size(config, kernels),
        dtype=dtype,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        tied_embeddings=output is not None and output.weight is embedding.weight,
        n_experts=experts.n_experts,
        n_experts_per_token=experts.n_per_token,
        max_positions=getattr(config, "max_position_embeddings", None),
        learned_positions=_has_learned_positions(model),
    )


def _has_learned_positions(model: Any) -> bool:
    """Tell whether positions are looked up in a table of the model (GPT-2's ``wpe``, OPT's ``embed_positions``)."""
    tables = (name for name, module in model.named_modules() if isinstance(module, torch.nn.Embedding))
    return any("position" in name or name.endswith("wpe") for name in tables)


def _intermediate_size(config: Any, kernels: list[TraceKernel]) -> int:
    """Read the width of the feed-forward network, under any of the names in use; 0 of a model without one."""
    if all(kernel.role is not FcRole.FEED_FORWARD_UP for kernel in kernels):
        return 0
    names = ("moe_intermediate_size", "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
    found: Any = next((value for name in names if (value := getattr(config, name, None))), 4 * config.hidden_size)
    return max(found) if isinstance(found, list) else int(found)


def _provenance(source: ModelSource, command: str) -> Provenance:
    return Provenance(
        command=command,
        date=_today(),
        torch=torch.__version__,
        transformers=transformers.__version__,
        config_sha256=source.sha256,
        captured_at=GRID,
        verified_at=CHECKS,
    )


def _today() -> str:
    """Return the day, or that of ``SOURCE_DATE_EPOCH`` where it is set, so that builds can be reproduced."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch:
        return datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise InputError(f"found '{epoch}', expected seconds since 1970", field="SOURCE_DATE_EPOCH") from None
