"""Time, room and energy of a parallel plan are those of a layout that places every head, layer and page on a device."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.system import load_part, load_system
from papisim.devices.gpu import Pool
from papisim.ops.cost import Energy
from papisim.ops.kernel import Attention
from papisim.ops.lower import kv_bytes_per_token, lower_attention, ragged_lengths, stage_weight_bytes
from papisim.ops.trace import KernelTrace, read_trace
from papisim.plan.machine import build_machine
from papisim.plan.memory import plan_memory

PLANS = 500


@cache
def shipped(name: str) -> KernelTrace:
    return read_trace(catalog.find(Shelf.TRACE, name).path)


@cache
def gpus(count: int, name: str = "a100_hbm3") -> Pool:
    return Pool("gpu", load_part(name).part, count)


def placed(n_heads, n_kv_heads, ranks):
    """Place every query head, and every KV head that it needs, on a rank; for each rank its query heads and KV heads."""
    group, homes = n_heads // n_kv_heads, {}
    for kv in range(n_kv_heads):
        homes[kv] = [rank for rank in range(ranks) if rank % n_kv_heads == kv] if ranks > n_kv_heads else [kv % ranks]
    heads = [(set(), set()) for _ in range(ranks)]
    for head in range(n_heads):
        kv, turn = divmod(head, group)
        queries, keys = heads[homes[kv][turn % len(homes[kv])]]
        queries.add(head)
        keys.add(kv)
    return heads


heads = st.tuples(st.sampled_from([1, 2, 3, 4, 5, 8, 12, 32]), st.sampled_from([1, 2, 4, 7, 8]))


@settings(max_examples=PLANS, deadline=None)
@given(
    st.sampled_from(["a100_hbm3", "a100", "h100"]),  # energy by access, twice, and as the board draws it
    heads, st.integers(1, 40), st.integers(1, 8), st.integers(1, 4), st.integers(1, 4000),
)  # fmt: skip
def test_attention_takes_the_slowest_rank_and_spends_the_sum_of_all(name, shape, ranks, requests, tlp, kv):
    n_kv_heads, group = shape
    tokens = requests * (kv + tlp)
    kernel = Attention(requests, requests * tlp, tokens, kv + tlp, tlp * tokens, n_kv_heads * group, n_kv_heads, 128)
    alone = [
        gpus(1, name).price(replace(kernel, n_heads=len(queries), n_kv_heads=len(keys)))
        for queries, keys in placed(kernel.n_heads, n_kv_heads, ranks)
        if queries
    ]
    cost = gpus(ranks, name).price(kernel)
    assert cost.time_s == pytest.approx(max(each.time_s for each in alone), rel=1e-12)
    assert cost.energy.total_j == pytest.approx(sum((each.energy for each in alone), Energy()).total_j, rel=1e-9)
    run = gpus(ranks, name).price_growing(kernel, 2)
    assert run.time_s[0] == pytest.approx(cost.time_s, rel=1e-9)
    assert run.energy_j[:, 0].sum() == pytest.approx(cost.energy.total_j, rel=1e-9)


@settings(max_examples=PLANS // 5, deadline=None)
@given(
    st.sampled_from(["llama-68m", "llama32-1b", "llama3-8b", "llama7b", "opt30b"]),
    st.integers(1, 12),
    st.integers(1, 6),
)
def test_room_is_that_of_the_device_that_is_full_first(model, ranks, stages):
    trace = shipped(model)
    if stages > trace.model.n_layers:
        stages = 1
    overrides = [f"devices.gpu.count={ranks * stages}", f"links.nvlink.count={ranks * stages}"]
    if stages > 1:
        overrides.append(f"roles.pipeline={{stages: {stages}, link: nvlink}}")
    machine = build_machine(load_system("gpu_only", overrides))
    facts, token_bytes = trace.model, kv_bytes_per_token(trace)
    head_bytes = token_bytes / facts.n_layers / facts.n_kv_heads
    sizes = [len(range(stage, facts.n_layers, stages)) for stage in range(stages)]
    first, tokens = 0, []
    for size in sizes:  # the first stages hold the larger parts
        layers = range(first, first + size)
        first += size
        free = machine.pools["gpu"].capacity_bytes / ranks - stage_weight_bytes(trace, layers) / ranks
        for _, keys in placed(facts.n_heads, facts.n_kv_heads, ranks):
            if keys and size:
                tokens.append(free / (head_bytes * len(keys) * size))
    assert plan_memory(machine, trace).kv_capacity_bytes == pytest.approx(min(tokens) * token_bytes, rel=1e-9)


@settings(max_examples=PLANS // 5, deadline=None)
@given(st.sampled_from(["llama32-1b", "llama3-8b", "llama7b"]), st.integers(1, 40), st.integers(1, 90))
def test_room_on_pim_is_that_of_the_fullest_channel(model, requests, stacks):
    trace = shipped(model)
    machine = build_machine(load_system("papi", [f"devices.attn_pim.count={stacks}"]))
    facts, pool = trace.model, machine.pools["attn_pim"]
    channels = [0] * (stacks * pool.part.organisation.channels // pool.part.channels_per_head)
    pairs = (
        (r, layer, head)
        for r in range(requests)
        for layer in range(facts.n_layers)
        for head in range(facts.n_kv_heads)
    )
    for number, _ in enumerate(pairs):
        channels[number % len(channels)] += 1
    pair_bytes = kv_bytes_per_token(trace) / facts.n_layers / facts.n_kv_heads
    tokens_each = pool.capacity_bytes / len(channels) / (max(channels) * pair_bytes)
    assert plan_memory(machine, trace).tokens_of(requests) == pytest.approx(requests * tokens_each, rel=1e-9)


@pytest.mark.parametrize(
    ("hw", "trace", "capacity_gb"),
    [("gpu_only", "llama7b", 414.7), ("gpu_only", "llama3-8b", 309.3), ("gpu_only", "llama65b", 338.8)],
)
def test_room_of_shipped_machines(hw, trace, capacity_gb):
    """By hand: 6 × 80 GB less the weights, times the KV heads over six times those of the fullest GPU."""
    capacity = plan_memory(build_machine(load_system(hw)), shipped(trace)).kv_capacity_bytes
    assert capacity / 1e9 == pytest.approx(capacity_gb, abs=0.05)


def test_a_head_that_is_on_two_ranks_is_read_twice():
    trace = shipped("llama32-1b")
    kernel = next(kernel for kernel, _ in trace.kernels() if kernel.attention)
    lengths = ragged_lengths(np.full(4, 8000), np.ones(4, dtype=np.int64))
    attention = lower_attention(kernel, trace, lengths)
    eight, sixteen = gpus(8).price(attention).energy, gpus(16).price(attention).energy
    assert sixteen.total_j > eight.total_j
