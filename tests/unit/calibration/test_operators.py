"""Thresholds by operator follow the faster side, and are PAPI's α where FC alone has a choice."""

from bisect import bisect_right
from itertools import product

import pytest

from papisim.calibration.operators import Point, crossover, located, points_of, subjects
from papisim.calibration.thresholds import thresholds
from papisim.config.experiment import RunOptions, load_experiment
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.plan.build import planner_of
from papisim.policies.placement.base import Operator


def experiment(hw="papi_attached", trace="llama3-8b", **options):
    return load_experiment(RunOptions(hw=hw, trace=trace, **{"placement": "papi_operators", **options}))


def planner(hw, trace, placement):
    chosen = experiment(hw, trace, placement=placement)
    subject = next(subjects(chosen))
    return planner_of(chosen, subject.trace, subject.machine)


def time_s(plan, point):
    lengths = decode_lengths(point.rlp, point.tlp, point.rlp * point.cached, point.cached)
    return plan.work(decode_shape(point.rlp, point.rlp * point.tlp), lengths, None).time_s


@pytest.mark.parametrize("trace", ["llama7b", "llama3-8b"])
def test_where_fc_alone_has_a_choice_there_is_one_threshold_and_it_is_alpha(trace):
    paper = experiment("papi", trace, placement="papi").system.placement
    assert experiment("papi", trace).system.placement.in_use == {Operator.FC: paper.alpha}


STUDY = tuple(product((1, 4, 16, 64, 128, 256), (1, 2, 4, 8, 16), (512, 2048, 8192, 32768, 131072)))
#: batches, TLP and contexts of which the calibration's grid has none
BETWEEN = tuple(product((3, 11, 29, 41, 71, 97, 199), (5, 10, 14), (700, 3000, 20_000, 100_000)))


@pytest.mark.parametrize("hw", ["papi_attached", "h200_hbmpim"])
@pytest.mark.parametrize("trace", ["llama7b", "llama3-8b", pytest.param("llama3-70b", marks=pytest.mark.slow)])
def test_the_policy_is_within_two_per_cent_of_the_oracle_and_the_oracle_is_never_beaten(hw, trace):
    slower, plans = [], [planner(hw, trace, each) for each in ("cheapest", "papi", "papi_operators")]
    for at in (*STUDY, *BETWEEN):
        point = Point(*at)
        best, paper, ours = (time_s(plan, point) for plan in plans)
        assert best <= paper * (1 + 1e-12)
        slower.append(ours / best - 1)
    assert min(slower) >= -1e-12
    assert max(slower) <= 0.02
    assert sum(slower) / len(slower) <= 0.005


def test_attention_changes_sides_with_every_round_of_channels_and_the_table_has_the_very_batches():
    chosen = experiment("h200_hbmpim")
    subject, sides = next(subjects(chosen)), ("gpu", "pim")
    row = next(
        each
        for each in located(subject, Operator.ATTENTION, sides).threshold
        if (each.intensity, each.tokens) == (8, 8192)
    )
    assert len(row.changes) > 1
    # 96 requests of eight heads fill 48 stacks of sixteen channels, so that one more begins a second round
    assert 97 in row.changes
    found = crossover(subject, Operator.ATTENTION, sides, [Point(rlp, 2, 8192) for rlp in range(1, 257)])
    on_pim = [bisect_right(row.changes, rlp) % 2 == 1 for rlp in range(1, 257)]
    assert on_pim == (found.pim_s <= found.processing_unit_s).tolist()


def test_a_crossover_has_the_time_of_both_sides_and_the_threshold_between_them():
    chosen = experiment()
    subject, points = next(subjects(chosen)), [Point(64, tlp, 4096) for tlp in (1, 4, 16)]
    found = crossover(subject, Operator.ATTENTION, ("gpu", "attn_pim"), points)
    assert found.intensity.tolist() == [4, 16, 64]
    assert (found.gain > 0).tolist() == [False, False, True], "grouped queries at 16 tokens are too much for 1P2B"
    never = [row.requests for row in found.threshold if row.intensity == 64]
    assert never == [None]


@pytest.mark.slow
def test_experts_have_a_threshold_in_rows_of_an_expert():
    sides = ["placement.processing_unit=gpu", "placement.pim=fc_pim"]
    found = thresholds(experiment(trace="mixtral-8x7b", set=[*sides, "placement.fc_by_role=false"]))
    assert set(found) == {Operator.FC, Operator.EXPERTS, Operator.ATTENTION}
    assert 0 < found[Operator.EXPERTS] < found[Operator.FC] * 1.5


def test_thresholds_by_role_are_closer_to_the_oracle_where_ranks_make_kernels_differ():
    sides = {"processing_unit": "gpu", "pim": "pim"}
    found = {
        by_role: experiment(
            "h200_hbmpim", set=[f"placement.{k}={v}" for k, v in (sides | {"fc_by_role": by_role}).items()]
        )
        for by_role in ("true", "false")
    }
    roles = found["true"].system.placement.in_use[Operator.FC]
    assert set(roles) == {"qkv", "projection", "feed_forward_up", "feed_forward_down", "lm_head"}
    subject = next(subjects(found["true"]))
    plans = [planner_of(chosen, subject.trace, subject.machine) for chosen in found.values()]
    oracle = planner("h200_hbmpim", "llama3-8b", "cheapest")
    rows = [decode_shape(each, each) for each in (4, 8, 12, 16, 24, 32, 48, 64, 96)]
    best = [oracle.fc_time_s(shape) for shape in rows]
    by_role, together = (
        [plan.fc_time_s(shape) / least - 1 for shape, least in zip(rows, best, strict=True)] for plan in plans
    )
    assert min(by_role) >= -1e-12
    assert sum(by_role) < 0.1 * sum(together)


def test_queries_and_keys_of_grouped_attention_cross_at_rows_of_their_own():
    roles = experiment("h200_hbmpim", "llama3-70b").system.placement.in_use[Operator.FC]
    narrow, wide = sorted(roles["qkv"])
    assert (narrow, wide) == (8 * 128 * 8192, 64 * 128 * 8192)
    # a GPU launches the narrow kernel for longer than it computes it, so PIM keeps it at far more rows
    assert roles["qkv"][narrow] > 2 * roles["qkv"][wide]


def test_a_grid_has_single_rows_and_then_equal_shares_of_each_doubling():
    rows = [point.rlp for point in points_of(Operator.FC)]
    assert rows[:65] == [*range(1, 65), 68]
    assert rows == sorted(set(rows))
    assert rows[-1] == 8192
