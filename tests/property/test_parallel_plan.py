"""Time, room and energy of a parallel plan are those of a layout that places every head, layer and page on a device."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.experts import ExpertsSpec
from papisim.config.parallel import Parallel
from papisim.config.system import load_part, load_system
from papisim.devices.gpu import Pool
from papisim.ops.cost import Energy
from papisim.ops.experts import Routed, Routing, Spread, rank_loads
from papisim.ops.kernel import Attention, FcRole, Group, Linear
from papisim.ops.lower import (
    decode_lengths,
    decode_shape,
    expert_weight_bytes,
    kv_bytes_per_token,
    lower_attention,
    ragged_lengths,
    stage_weight_bytes,
)
from papisim.ops.trace import KernelTrace, read_trace
from papisim.plan.build import build_planner
from papisim.plan.machine import Machine, build_machine
from papisim.plan.memory import plan_memory
from papisim.plan.phase import Category
from papisim.policies.placement.pinned import Options, Placement

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


# --- attention groups, split caches, experts on ranks -------------------------------------------------------------


@cache
def one_gpu() -> Machine:
    return build_machine(load_system("h200_single"))


@st.composite
def plans(draw):
    """Draw a number of ranks and shares of them that do not contradict each other."""
    heads, context, data = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    ranks = heads * context * data
    divisors = [n for n in range(1, ranks + 1) if ranks % n == 0]
    experts = draw(st.sampled_from([1, ranks] if data > 1 else divisors))
    return ranks, Parallel(data_ranks=data, context_ranks=context, expert_ranks=experts)


def sharing(ranks: int, parallel: Parallel) -> Machine:
    one = one_gpu()
    tensor = one.roles.tensor_parallel.model_copy(update={"ranks": ranks // parallel.data_ranks})
    roles = one.roles.model_copy(update={"tensor_parallel": tensor})
    return replace(one.of_ranks(ranks), roles=roles, parallel=parallel)


def alone(count: int) -> Pool:
    return gpus(count, "h200")


def fullest_and_sum(costs):
    costs = list(costs)
    return max(cost.time_s for cost in costs), sum((cost.energy for cost in costs), Energy()).total_j


@settings(max_examples=PLANS, deadline=None)
@given(plans(), st.integers(1, 40), st.integers(1, 3000), st.sampled_from([0.0, 0.8]), st.integers(0, 9))
def test_every_rank_computes_what_is_placed_on_it(plan, requests, kv, skew, copies):
    """Place every request, token, head and expert of one layer on a rank, and price each rank by itself."""
    (ranks, parallel), trace = plan, shipped("qwen3-30b-a3b")
    model, data, context = trace.model, parallel.data_ranks, parallel.context_ranks
    copies = copies if parallel.expert_ranks > 1 else 0
    made, spec = sharing(ranks, parallel), ExpertsSpec(zipf_exponent=skew, copies=copies)
    planner = build_planner(trace, made, Placement(Options(kind="pinned", device="gpu")), seed=3, experts=spec)
    phases = planner.in_order(
        decode_shape(requests, requests, (0, 1)), decode_lengths(requests, 1, requests * kv, kv), None, fold=False
    )

    groups = [len(range(group, requests, data)) for group in range(data)]
    tensor, head_ranks = ranks // data, ranks // data // context
    costs = []
    for own in filter(None, groups):
        tokens = [0] * context
        for token in range(own * (kv + 1)):
            tokens[token % context] += 1
        for there in filter(None, tokens):
            for queries, keys in placed(model.n_heads, model.n_kv_heads, head_ranks):
                longest = -(-(kv + 1) // context)
                if queries:
                    sizes = (own, own, there, longest, there, len(queries), len(keys), 128)
                    costs.append(alone(1).price(Attention(*sizes)))
    check(phases, Category.ATTENTION, fullest_and_sum(costs), Attention)

    routed = Routed(0, requests, requests, model.n_experts, model.n_experts_per_token)
    loads = rank_loads(Routing(3, skew), routed, Spread(parallel.expert_ranks, copies))
    assert sum(map(sum, loads.rows)) == requests * model.n_experts_per_token
    assert sum(map(len, loads.rows)) == model.n_experts + copies
    for role, (k, n) in {FcRole.FEED_FORWARD_UP: (2048, 1536), FcRole.FEED_FORWARD_DOWN: (768, 2048)}.items():
        costs = []
        for rows in filter(any, loads.rows):
            products = tuple(Group(m, rows.count(m)) for m in sorted(set(rows)) if m)
            kernel = Linear(role, sum(rows), k, n, groups=products if sum(map(bool, rows)) > 1 else ())
            costs.append(alone(ranks // parallel.expert_ranks).price(kernel))
        check(phases, Category.FC, fullest_and_sum(costs), role)

    output = [alone(tensor).price(Linear(FcRole.PROJECTION, own, 4096, 2048)) for own in groups if own]
    check(phases, Category.FC, fullest_and_sum(output), FcRole.PROJECTION)


def check(phases, category, expected, kind):
    """Compare the phases of one role, or of attention, with a time and an energy."""
    found = [
        phase
        for phase in phases
        if phase.category is category
        and any(
            isinstance(work.item, kind) if isinstance(kind, type) else work.item.role is kind for work in phase.work
        )
    ]
    assert sum(phase.total_s for phase in found) == pytest.approx(expected[0], rel=1e-9)
    assert sum((phase.energy * phase.repeats for phase in found), Energy()).total_j == pytest.approx(
        expected[1], rel=1e-9
    )


@settings(max_examples=PLANS // 5, deadline=None)
@given(plans(), st.integers(1, 60), st.integers(0, 9))
def test_room_is_that_of_the_rank_that_is_full_first(plan, requests, copies):
    (ranks, parallel), trace = plan, shipped("qwen3-30b-a3b")
    model, data, context = trace.model, parallel.data_ranks, parallel.context_ranks
    copies = copies if parallel.expert_ranks > 1 else 0
    made, layers = sharing(ranks, parallel), range(model.n_layers)
    experts = expert_weight_bytes(trace, layers)
    each_bytes, others = experts / model.n_experts, stage_weight_bytes(trace, layers) - experts
    tensor, cut = ranks // data, ranks // parallel.expert_ranks
    held = [
        len(range(rank, model.n_experts + copies, parallel.expert_ranks)) for rank in range(parallel.expert_ranks)
    ]
    free = one_gpu().pools["gpu"].capacity_bytes - others / tensor - max(held) * each_bytes / cut
    fullest = max(len(range(group, requests, data)) for group in range(data))
    keys = max(len(keys) for _, keys in placed(model.n_heads, model.n_kv_heads, tensor // context))
    token_bytes = kv_bytes_per_token(trace) / model.n_kv_heads * keys / context
    expected = free / (token_bytes * fullest) * requests
    assume(free > 0)
    assert plan_memory(made, trace, expert_copies=copies).tokens_of(requests) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=PLANS, deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 4), st.integers(1, 8), st.integers(0, 12), st.integers(1, 200), st.sampled_from([0.0, 1.2])
)  # fmt: skip
def test_rows_that_are_sent_arrive(ranks, node_ranks, k, copies, rows, skew):
    """Count every row by itself: what leaves ranks reaches others, and what goes to a rank's own experts stays."""
    routing, routed = Routing(1, skew), Routed(2, rows, rows, 16, k)
    senders = tuple(len(range(rank, rows, ranks)) for rank in range(ranks))
    loads = rank_loads(routing, routed, Spread(ranks, copies, senders, node_ranks))
    each, once = loads.once_per_expert, loads.once_per_rank
    assert each is not None
    assert once is not None
    arrived = sum(map(sum, loads.rows))
    assert arrived == rows * k
    assert once.inner_total <= each.inner_total <= arrived
    assert once.inner_total + once.outer_total <= rows * min(k, ranks)
    for traffic in (each, once):
        assert traffic.inner <= traffic.inner_total <= traffic.inner * ranks
        assert traffic.outer <= traffic.outer_total <= traffic.outer * ranks
    if ranks == 1:
        assert (each.inner_total, each.outer_total) == (0, 0)
    if node_ranks >= ranks:
        assert each.outer_total == 0
    if k == 1:
        assert each == once
