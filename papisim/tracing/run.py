"""Capture a model: record at the points of a grid, lift, verify at further points, and record the provenance."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from typing import Any, Final

import torch
import transformers

from papisim.errors import InputError, NotModelled
from papisim.ops.trace import KernelTrace, ModelFacts, Point, Provenance
from papisim.ops.trace_kernels import TraceKernel
from papisim.tracing.classify import Layout, PlacedKernel, classify
from papisim.tracing.decode import build, experts_of, record_decode
from papisim.tracing.lift import CHECKS, GRID, fold, lift, verify
from papisim.tracing.models import ModelSource
from papisim.tracing.published import DEFAULT_DTYPE, dtype_of, packed_weights

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
    config = source.config()
    dtype = dtype_of(source.fields, source.file)
    if dtype is None:
        dtype = DEFAULT_DTYPE
        progress(f"{source.file} names no torch_dtype: weights and caches are captured in {dtype}")
    progress(f"building {source.name} on the meta device")
    model = build(config, source.name, dtype)
    layout = Layout(_layers_path(model, source.name))

    def captured(point: Point) -> list[PlacedKernel]:
        progress(f"capturing at {point}")
        return classify(record_decode(model, point, SEED, source.name), layout)

    lifted = lift([captured(point) for point in GRID])
    for point in CHECKS:
        verify(lifted, captured(point), point)
    blocks = fold(lifted)
    packed = packed_weights(source.fields, config.num_hidden_layers, source.file)
    facts = _facts(model, [kernel.kernel for kernel in lifted], dtype).model_copy(update={"packed": packed})
    trace = KernelTrace(name=source.name, provenance=_provenance(source, command), model=facts, blocks=blocks)
    provenance = trace.provenance.model_copy(update={"structure_sha256": trace.structure_sha256})
    return trace.model_copy(update={"provenance": provenance})


def _layers_path(model: Any, name: str) -> str:
    """Return the path of the list that holds the decoder layers."""
    n_layers = model.config.num_hidden_layers
    paths: list[str] = [
        path
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers
    ]
    if not paths:
        raise NotModelled(f"{name}: no list of {n_layers} layers was found in the model")
    return min(paths, key=len)


def _facts(model: Any, kernels: list[TraceKernel], dtype: str) -> ModelFacts:
    config, experts = model.config, experts_of(model.config)
    heads = {kernel.attention for kernel in kernels if kernel.attention}
    if len(heads) != 1:
        raise NotModelled(f"layers with different attention heads: {sorted(map(str, heads))}")
    (shape,) = heads
    output, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    return ModelFacts(
        model_type=config.model_type,
        n_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        n_heads=shape.n_heads,
        n_kv_heads=shape.n_kv_heads,
        head_dim=shape.head_dim,
        vocab_size=config.vocab_size,
        intermediate_size=_intermediate_size(config),
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


def _intermediate_size(config: Any) -> int:
    """Read the width of the feed-forward network, under any of the names in use."""
    names = ("moe_intermediate_size", "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
    return int(next((value for name in names if (value := getattr(config, name, None))), 4 * config.hidden_size))


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
