"""Merged kernels: what they keep, what stays on chip, and what is left apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.engine import FusionSpec
from papisim.config.system import load_part
from papisim.ops.dims import Dim, parse_dim, whole
from papisim.ops.fusion import activation_bytes, fuse, with_append
from papisim.ops.kernel import FcRole, KernelClass
from papisim.ops.lower import lower, lower_append, weight_bytes
from papisim.ops.trace import KernelTrace, PackedWeights, read_trace
from papisim.pricing.kernel import pool_of

ALL = FusionSpec(qkv=True, gate_up=True, add_norm=True, norm_pairs=True, rotary=True, activation=True)
TRACES = sorted(catalog.shipped(Shelf.TRACE))
LLAMAS = ["llama7b", "llama3-8b", "llama3-70b"]


def trace(name: str) -> KernelTrace:
    return read_trace(catalog.find(Shelf.TRACE, name).path)


def flop(model: KernelTrace) -> Dim:
    return sum((kernel.flop * whole(repeats) for kernel, repeats in model.kernels()), start=whole(0))


def launches(model: KernelTrace) -> int:
    return sum(repeats for _, repeats in model.kernels())


@pytest.mark.parametrize("name", TRACES)
def test_operations_and_weights_are_kept_to_the_unit(name):
    captured, fused = trace(name), fuse(trace(name), ALL).trace
    assert flop(fused) == flop(captured)
    assert fused.fc_weight_bytes == captured.fc_weight_bytes
    assert weight_bytes(fused) == weight_bytes(captured)
    assert fused.model == captured.model


@pytest.mark.parametrize("name", TRACES)
def test_the_captured_trace_stays_as_captured(name):
    captured = trace(name)
    before = captured.model_dump()
    fuse(captured, ALL)
    assert captured.model_dump() == before


@pytest.mark.parametrize("name", LLAMAS)
def test_each_layer_of_a_llama_saves_three_readings_of_inputs_and_two_of_sums(name):
    captured, facts = trace(name), trace(name).model
    saved = activation_bytes(captured) - activation_bytes(fuse(captured, ALL).trace)
    row_bytes = facts.hidden_size * facts.element_bytes
    assert saved == parse_dim("RLP*TLP") * whole((2 + 1 + 2) * facts.n_layers * row_bytes)


@pytest.mark.parametrize(
    ("merged", "saved_rows"), [("qkv", 2), ("gate_up", 1), ("add_norm", 2), ("norm_pairs", 0), ("rotary", 0)]
)
def test_each_merge_saves_its_own_share(merged, saved_rows):
    captured, facts = trace("llama7b"), trace("llama7b").model
    fused = fuse(captured, FusionSpec(**{merged: True})).trace
    saved = activation_bytes(captured) - activation_bytes(fused)
    assert saved == parse_dim("RLP*TLP") * whole(saved_rows * facts.n_layers * facts.hidden_size * 2)


def test_a_layer_of_a_llama_runs_ten_kernels_and_four_products():
    fused = fuse(trace("llama7b"), ALL).trace
    (layer,) = (block for block in fused.blocks if block.layers is not None)
    assert (layer.layers, len(layer.kernels)) == ("0-31", 10)
    assert [kernel.fc.n for kernel in layer.kernels if kernel.fc is not None] == [3 * 4096, 4096, 2 * 11008, 4096]
    assert layer.kernels[-1].name == "residual+input_layernorm"
    assert fused.blocks[0].kernels[-1].name == "input_layernorm"
    assert [kernel.name for kernel in fused.blocks[-1].kernels] == ["lm_head"]
    assert launches(fused) == launches(trace("llama7b")) - 5 * 32


def test_grouped_queries_are_one_product_of_query_and_cache_heads():
    fused = fuse(trace("llama3-8b"), ALL).trace
    qkv = next(kernel for kernel, _ in fused.kernels() if kernel.role is FcRole.QKV)
    assert qkv.fc.n == 4096 + 2 * 1024


def test_biases_go_with_their_products():
    fused = fuse(trace("opt30b"), ALL).trace
    qkv = next(kernel for kernel, _ in fused.kernels() if kernel.role is FcRole.QKV)
    assert sorted(str(each.tensor) for each in qkv.weights) == ["float16[21504, 7168]", *3 * ["float16[7168]"]]


def test_experts_whose_gate_and_up_are_one_product_already_are_left_alone():
    captured, fused = trace("mixtral-8x7b"), fuse(trace("mixtral-8x7b"), ALL)
    experts = [
        [(kernel.name, kernel.fc) for kernel, _ in model.kernels() if kernel.per_expert]
        for model in (captured, fused.trace)
    ]
    assert experts[0] == experts[1]
    assert fused.notes == ()


def packed(model: KernelTrace, *kept: str) -> KernelTrace:
    weights = PackedWeights(method="awq", bits=4, group=128, scale_bits=16, kept=kept)
    facts = model.model.model_copy(update={"packed": weights})
    return KernelTrace(
        schema=model.schema_name,
        name=model.name,
        provenance=model.provenance.model_copy(update={"structure_sha256": None}),
        model=facts,
        blocks=model.blocks,
    )


def test_products_that_are_stored_differently_stay_apart_and_are_named():
    model = packed(trace("llama7b"), "self_attn.q_proj")
    fused = fuse(model, ALL)
    names = [kernel.name for kernel, _ in fused.trace.kernels() if kernel.role is FcRole.QKV]
    assert names == ["self_attn.q_proj", "self_attn.k_proj+v_proj"]
    assert fused.notes == ("left apart in self_attn, as their inputs or formats differ: q_proj, k_proj+v_proj",)
    assert weight_bytes(fused.trace) == weight_bytes(model)


def test_products_that_are_packed_alike_are_merged_and_packed():
    model = packed(trace("llama7b"), "mlp")
    fused = fuse(model, ALL)
    assert weight_bytes(fused.trace) == weight_bytes(model)
    assert weight_bytes(fused.trace) < weight_bytes(fuse(trace("llama7b"), ALL).trace)


def test_rotating_and_writing_in_one_kernel_spares_the_rotated_keys():
    model, rows = trace("llama7b"), 5
    kernels = {kernel.kernel_class: kernel for kernel, _ in model.kernels() if kernel.name.startswith("self_attn")}
    rotary, append = kernels[KernelClass.ROTARY], kernels[KernelClass.KV_APPEND]
    (layer,) = (block for block in model.blocks if block.layers is not None)
    written, point = lower_append(layer, model, rows), {"RLP": 1, "TLP": rows, "KV": 0}
    assert written is not None
    both = with_append(rotary, append, written, rows)
    apart = sum((each.read_bytes + each.write_bytes).at(point) for each in (rotary, append))
    assert apart - (both.read_bytes + both.write_bytes) == 2 * rows * 4096 * 2
    assert both.flop == rotary.flop.at(point)


def test_nothing_is_merged_that_a_profile_does_not_name():
    model = trace("llama7b")
    assert fuse(model, FusionSpec()).trace is model


@pytest.mark.parametrize(("ranks", "columns"), [(1, 32 + 16), (8, 4 + 2), (16, 2 + 2), (6, 8 + 4)])
def test_ranks_share_the_merged_product_by_heads_with_copies_of_those_of_the_cache(ranks, columns):
    """Of 32 query heads in groups of four, the fullest of six ranks has two groups; sixteen ranks hold two copies of each."""
    model = fuse(trace("llama3-8b"), ALL).trace
    merged = next(kernel for kernel, _ in model.kernels() if kernel.role is FcRole.QKV)
    kernel = lower(merged, model, 3)
    alone, shared = (pool_of(load_part("h100"), count) for count in (1, ranks))
    part = replace(kernel, n=columns * 128, heads=None)
    assert shared.price(kernel).time_s == alone.price(part).time_s
    assert shared.computed_flop(kernel) == ranks * part.flop
