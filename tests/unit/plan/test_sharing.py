"""Expert ranks, attention groups, split caches and nodes: closed forms, conservation, and refusals."""

import numpy as np
import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.engine import CAPTURED, EngineSpec, FusionSpec
from papisim.config.experiment import RunOptions, load_experiment
from papisim.config.experts import ExpertsSpec
from papisim.config.system import load_system
from papisim.engine.run import simulate
from papisim.errors import InputError, NotModelled
from papisim.ops.cost import Energy
from papisim.ops.lower import (
    decode_lengths,
    decode_shape,
    expert_weight_bytes,
    prefill_lengths,
    prefill_shape,
    weight_bytes,
)
from papisim.ops.trace import read_trace
from papisim.plan.build import build_planner
from papisim.plan.machine import Machine, build_machine
from papisim.plan.memory import plan_memory
from papisim.plan.phase import Category, Exchange, Message, Phase, seconds
from papisim.plan.sharing import check_model
from papisim.policies.placement.pinned import Options, Placement

QWEN = read_trace(catalog.find(Shelf.TRACE, "qwen3-30b-a3b").path)


def machine(ranks: int = 8, hw: str = "h200_single", **parallel: object) -> Machine:
    counts = [f"devices.gpu.count={ranks}", f"links.nvlink.count={ranks}"]
    return build_machine(
        load_system(hw, [*counts, *(f"parallel.{name}={value}" for name, value in parallel.items())])
    )


def step(made: Machine, rlp: int = 64, kv: int = 1000, fold: bool = True, **experts: float) -> list[Phase]:
    placement = Placement(Options(kind="pinned", device="gpu"))
    planner = build_planner(QWEN, made, placement, seed=0, experts=ExpertsSpec(**experts))
    return planner.in_order(decode_shape(rlp, rlp), decode_lengths(rlp, 1, rlp * kv, kv), None, fold=fold)


def messages(phases: list[Phase]) -> dict[Exchange, list[tuple[Message, int]]]:
    found: dict[Exchange, list[tuple[Message, int]]] = {}
    for phase in phases:
        for work in phase.work:
            if isinstance(work.item, Message):
                found.setdefault(work.item.exchange, []).append((work.item, work.times * phase.repeats))
    return found


def flop(phases: list[Phase], category: Category) -> float:
    return sum(phase.flop * phase.repeats for phase in phases if phase.category is category)


def energy(phases: list[Phase]) -> Energy:
    return sum((phase.energy * phase.repeats for phase in phases), Energy())


@pytest.mark.parametrize(
    "parallel",
    [{}, {"expert_ranks": 4}, {"expert_ranks": 8}, {"data_ranks": 4}, {"data_ranks": 8, "expert_ranks": 8}, {"context_ranks": 2},
     {"data_ranks": 2, "context_ranks": 2, "expert_ranks": 8}],
)  # fmt: skip
def test_every_plan_computes_the_same(parallel):
    """FLOP of FC kernels and attention do not depend on which rank has them, heads copied to several ranks aside."""
    one, shared = step(machine(4)), step(machine(8, **parallel))
    assert flop(shared, Category.FC) == flop(one, Category.FC)
    assert flop(shared, Category.ATTENTION) == pytest.approx(flop(one, Category.ATTENTION), rel=1e-3)


def test_the_collective_follows_from_the_plan():
    layers = QWEN.model.n_layers
    kinds = {
        (): {Exchange.ALL_REDUCE: 2 * layers},
        ("expert_ranks",): {Exchange.ALL_REDUCE: 2 * layers},
        ("data_ranks",): {Exchange.ALL_GATHER: layers, Exchange.REDUCE_SCATTER: layers},
        ("data_ranks", "expert_ranks"): {Exchange.DISPATCH: layers, Exchange.COMBINE: layers},
        ("context_ranks",): {Exchange.ALL_REDUCE: 2 * layers, Exchange.ALL_GATHER: layers, Exchange.REDUCE_SCATTER: layers},
    }  # fmt: skip
    for fields, expected in kinds.items():
        phases = step(machine(8, **dict.fromkeys(fields, 2 if fields == ("context_ranks",) else 8)), fold=False)
        found = {kind: sum(times for _, times in each) for kind, each in messages(phases).items()}
        assert found == expected, fields


def test_rows_of_a_rank_are_its_share_of_balanced_routing():
    """1,024 rows on eight ranks: about k·rows/8 rows of experts on each, of which an eighth stays where it is."""
    model, rows = QWEN.model, 1024
    sent = messages(step(machine(8, data_ranks=8, expert_ranks=8), rlp=rows))[Exchange.DISPATCH]
    row_bytes = 2 * model.hidden_size
    totals = [message.rows.total_per_expert / row_bytes for message, _ in sent if message.rows is not None]
    expected = rows * model.n_experts_per_token * 7 / 8
    assert np.mean(totals) == pytest.approx(expected, rel=0.01)
    for message, _ in sent:
        assert message.rows is not None
        assert expected / 8 <= message.rows.per_expert / row_bytes < 1.2 * expected / 8
        assert message.rows.per_rank < message.rows.per_expert


def test_rows_come_back_as_they_went():
    phases = messages(step(machine(8, data_ranks=8, expert_ranks=8)))
    assert sum(m.payload_bytes * n for m, n in phases[Exchange.DISPATCH]) == sum(
        m.payload_bytes * n for m, n in phases[Exchange.COMBINE]
    )


def test_rows_in_eight_bits_are_half_as_many_bytes_plus_scales():
    plain = messages(step(machine(8, data_ranks=8, expert_ranks=8)))[Exchange.DISPATCH]
    packed = messages(
        step(machine(8, data_ranks=8, expert_ranks=8, dispatch="{bits: 8, group: 128, scale_bits: 32}"))
    )[Exchange.DISPATCH]
    ratios = [a.payload_bytes / b.payload_bytes for (a, _), (b, _) in zip(packed, plain, strict=True)]
    assert ratios == pytest.approx([(128 + 4) / 256] * len(ratios))


def test_skewed_experts_take_longer_and_copies_of_popular_ones_help():
    made = machine(8, data_ranks=8, expert_ranks=8)
    even, skewed, copied = (
        seconds(step(made, rlp=2048, **options))
        for options in ({}, {"zipf_exponent": 1.0}, {"zipf_exponent": 1.0, "copies": 16})
    )
    assert even < copied < skewed


def test_small_kernels_of_some_engines_stream_the_rows_of_all_experts():
    """With all rows on every rank they take as long as without expert ranks; after a dispatch only what came is there."""
    fused = CAPTURED.model_copy(update={"fusion": FusionSpec(all_expert_rows=True)})

    def small_s(engine: EngineSpec, **shares: int) -> float:
        placement = Placement(Options(kind="pinned", device="gpu"))
        planner = build_planner(QWEN, machine(8, **shares), placement, seed=0, engine=engine)
        lengths = decode_lengths(4096, 1, 4096 * 1000, 1000)
        phases = planner.in_order(decode_shape(4096, 4096), lengths, None)
        return sum(phase.total_s for phase in phases if phase.category is Category.OTHER)

    assert small_s(fused, expert_ranks=8) > 2 * small_s(CAPTURED, expert_ranks=8)
    assert small_s(fused) == small_s(CAPTURED)
    assert small_s(fused, expert_ranks=8, data_ranks=8) == small_s(CAPTURED, expert_ranks=8, data_ranks=8)


def test_attention_groups_hold_all_weights_but_the_experts():
    """By hand: each of eight ranks has an eighth of the experts and all else, and caches without copies."""
    made = machine(8, data_ranks=8, expert_ranks=8)
    experts = expert_weight_bytes(QWEN, range(QWEN.model.n_layers))
    each = experts / 8 + weight_bytes(QWEN) - experts
    room = made.pools["gpu"].capacity_bytes - 8 * each
    assert plan_memory(made, QWEN).kv_capacity_bytes == pytest.approx(room)
    assert plan_memory(made, QWEN).room_bytes(12) == pytest.approx(room * 12 / 16), "groups of two and of one request"


@pytest.mark.parametrize(("experts", "held"), [(0, 128), (16, 144)])
def test_copies_of_experts_take_room(experts, held):
    made = machine(8, data_ranks=8, expert_ranks=8)
    whole = expert_weight_bytes(QWEN, range(QWEN.model.n_layers))
    others = 8 * (weight_bytes(QWEN) - whole)
    expected = made.pools["gpu"].capacity_bytes - others - whole * held / 128
    assert plan_memory(made, QWEN, expert_copies=experts).kv_capacity_bytes == pytest.approx(expected)


def test_experts_that_do_not_divide_leave_one_rank_fuller():
    """128 experts on 6 ranks: 22 on the fullest."""
    made = machine(6, expert_ranks=6)
    experts, whole = expert_weight_bytes(QWEN, range(QWEN.model.n_layers)), weight_bytes(QWEN)
    free = made.pools["gpu"].capacity_bytes - (whole - experts) - experts * 22 * 6 / 128
    assert plan_memory(made, QWEN).kv_capacity_bytes == pytest.approx(free * 4 / 6)  # 4 KV heads on 6 ranks


def test_split_caches_leave_no_copies_of_heads():
    """4 KV heads on 8 ranks lie twice; with each cache split over two ranks, once."""
    copied, split = (plan_memory(machine(8, context_ranks=c), QWEN).kv_capacity_bytes for c in (1, 2))
    assert split == pytest.approx(2 * copied)


def test_attention_of_split_caches_reads_half_per_rank():
    long_s = [
        sum(phase.total_s for phase in step(machine(8, context_ranks=c), rlp=16, kv=200_000) if phase.category is Category.ATTENTION)
        for c in (1, 2)
    ]  # fmt: skip
    assert long_s[1] < 0.6 * long_s[0]


def test_more_requests_than_groups_wait_for_the_fullest():
    """Nine requests on eight groups take attention of two, sixteen as well; energy follows the requests."""
    made = machine(8, data_ranks=8, expert_ranks=8)
    nine, sixteen = step(made, rlp=9), step(made, rlp=16)
    time_s = [
        sum(phase.total_s for phase in phases if phase.category is Category.ATTENTION) for phases in (nine, sixteen)
    ]
    assert time_s[0] == pytest.approx(time_s[1], rel=1e-6)
    assert energy(nine).total_j < energy(sixteen).total_j


def test_a_long_prompt_is_computed_by_one_group():
    made = machine(8, data_ranks=8, expert_ranks=8)
    planner = build_planner(QWEN, made, Placement(Options(kind="pinned", device="gpu")), seed=0)
    one, eight = (seconds(planner.prefill(prefill_shape([4096] * n), prefill_lengths([4096] * n))) for n in (1, 8))
    assert one > eight / 3, "seven groups of eight are idle"


def nodes(ranks: int, per_node: int, **parallel: object) -> Machine:
    counts = [f"devices.gpu.count={ranks}", f"links.nvlink.count={ranks}", f"links.infiniband.count={ranks}"]
    shares = {"data_ranks": 1, "expert_ranks": 1, **parallel, "nodes.ranks": per_node}
    return build_machine(
        load_system("h100x16_ep", [*counts, *(f"parallel.{name}={value}" for name, value in shares.items())])
    )


def test_a_sum_over_two_nodes_has_two_levels():
    """Reduce-scatter and all-gather in the nodes, and an all-reduce of an eighth between them."""
    made = nodes(16, 8)
    payload = 2.0 * 64 * QWEN.model.hidden_size
    found = messages(step(made))
    assert {message.payload_bytes for message, _ in found[Exchange.REDUCE_SCATTER]} == {payload}
    assert {message.payload_bytes for message, _ in found[Exchange.ALL_REDUCE]} == {payload / 8}
    assert {message.ranks for message, _ in found[Exchange.ALL_REDUCE]} == {2}
    by_link = {name: sum(p.total_s for p in step(made) if p.resource == name) for name in ("nvlink", "infiniband")}
    link, network = made.links["nvlink"], made.links["infiniband"]
    sums = 2 * QWEN.model.n_layers
    assert by_link["nvlink"] == pytest.approx(sums * 2 * link.reduce_scatter(payload, 8).time_s)
    assert by_link["infiniband"] == pytest.approx(sums * network.all_reduce(payload / 8, 2).time_s)


def test_one_node_that_has_all_ranks_is_no_hierarchy():
    assert seconds(step(nodes(8, 8))) == seconds(step(nodes(8, 16)))
    assert Exchange.REDUCE_SCATTER not in messages(step(nodes(8, 8)))


def test_rows_between_nodes_take_the_network():
    made = nodes(16, 8, data_ranks=16, expert_ranks=16)
    phases = step(made, rlp=1024)
    assert {phase.resource for phase in phases if phase.category is Category.COMMUNICATION} == {"infiniband"}
    inner = step(nodes(16, 16, data_ranks=16, expert_ranks=16), rlp=1024)
    assert seconds(inner) < seconds(phases)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data_ranks": 3}, "found 3, expected a divisor of the 8 ranks of a stage"),
        ({"data_ranks": 4, "context_ranks": 4}, "found 4, expected a divisor of the 2 ranks of an attention group"),
        ({"expert_ranks": 5}, "found 5, expected a divisor of the 8"),
        ({"data_ranks": 4, "expert_ranks": 4}, "experts dealt out to groups of ranks are not implemented"),
        ({"nodes": "{ranks: 4, link: ib}"}, "no link 'ib' in this system; known: nvlink"),
        ({"nodes": "{ranks: 3, link: nvlink}"}, "collectives of 8 ranks over nodes that they fill unevenly"),
    ],
)
def test_contradictions_are_refused_with_their_field(fields, message):
    with pytest.raises(InputError, match=message) as caught:
        machine(8, **fields)
    assert str(caught.value.place.field).startswith("parallel.")


def test_machines_of_several_devices_are_refused_by_name():
    with pytest.raises(InputError, match=r"several devices, or PIM stacks.*gpu, fc_pim, attn_pim"):
        load_system("papi", ["parallel.expert_ranks=2"])


DENSE = read_trace(catalog.find(Shelf.TRACE, "llama3-8b").path)
STATES = read_trace(catalog.find(Shelf.TRACE, "granite4-h-small").path)


@pytest.mark.parametrize(
    ("trace", "shares", "options", "message"),
    [
        (DENSE, {"expert_ranks": 8}, {}, "found 8, expected at most 1, since there are no experts"),
        (QWEN, {}, {"copies": 4}, "every rank has a part of every expert"),
        (STATES, {"context_ranks": 2}, {}, "parallel.context_ranks 2 of layers with states"),
    ],
)
def test_shares_that_a_model_does_not_have_are_refused(trace, shares, options, message):
    with pytest.raises((InputError, NotModelled), match=message):
        build_planner(
            trace,
            machine(8, **shares),
            Placement(Options(kind="pinned", device="gpu")),
            seed=0,
            experts=ExpertsSpec(**options),
        )


def test_experts_beyond_the_ranks_are_refused():
    with pytest.raises(InputError, match="found 144, expected at most the 128 experts"):
        check_model(machine(144, expert_ranks=144), QWEN)


@pytest.mark.parametrize("options", [{"engine": "eager"}, {"draft": "eagle_head", "tlp": 2}], ids=["eager", "head"])
def test_what_is_priced_for_ranks_that_share_all_is_refused(options):
    experiment = load_experiment(RunOptions(hw="h200x8_ep", trace="qwen3-30b-a3b", batch=8, requests=8, **options))
    with pytest.raises(NotModelled, match=r"parallel\.data_ranks 8, parallel\.expert_ranks 8"):
        simulate(experiment)


def test_ranks_follow_from_groups_and_contradictions_are_refused():
    assert machine(8, data_ranks=4).roles.tensor_parallel.ranks == 2
    with pytest.raises(InputError, match="found 8, expected 2: each of the 2 'gpu' of an attention group"):
        load_system("h200_single", ["devices.gpu.count=8", "parallel.data_ranks=4", "roles.tensor_parallel.ranks=8"])


@pytest.mark.parametrize(
    "shares", [(), ("parallel.data_ranks=2", "parallel.context_ranks=2")], ids=["deepseek", "split"]
)
def test_iterations_at_once_are_those_one_by_one(shares):
    """Folded layers and fast-forwarded iterations of attention groups and split caches equal those simulated each."""
    lengths = "workload.lengths={kind: uniform, input_tokens: 60, output_tokens: 10, min_ratio: 0.5}"
    runs = [
        simulate(
            load_experiment(
                RunOptions(
                    hw="h200x8_ep", trace="qwen3-30b-a3b", batch=6, requests=9, set=[lengths, *shares],
                    fold=fast, fast_forward=fast,
                )
            )
        ).ledger
        for fast in (True, False)
    ]  # fmt: skip
    assert runs[0].makespan_s == pytest.approx(runs[1].makespan_s, rel=1e-9)
    assert runs[0].sums().energy.total_j == pytest.approx(runs[1].sums().energy.total_j, rel=1e-9)
