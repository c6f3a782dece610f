"""Thresholds by operator follow the faster side, and are PAPI's α where FC alone has a choice."""

from itertools import product

import pytest

from papisim.calibration.operators import Point, crossover, points_of, subjects, thresholds
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
    assert experiment("papi", trace).system.placement.thresholds == {Operator.FC: paper.alpha}


@pytest.mark.parametrize("trace", ["llama7b", "llama3-8b"])
def test_the_policy_is_within_two_per_cent_of_the_oracle_and_the_oracle_is_never_beaten(trace):
    slower, plans = [], [planner("papi_attached", trace, each) for each in ("cheapest", "papi", "papi_operators")]
    for rlp, tlp, cached in product((1, 4, 16, 64, 256), (1, 2, 4, 8, 16), (512, 2048, 8192, 32768, 131072)):
        point = Point(rlp, tlp, cached)
        best, paper, ours = (time_s(plan, point) for plan in plans)
        assert best <= paper * (1 + 1e-12)
        slower.append(ours / best - 1)
    assert min(slower) >= -1e-12
    assert max(slower) <= 0.02
    assert sum(slower) / len(slower) <= 0.005


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
    found = thresholds(experiment(trace="mixtral-8x7b"))
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
    roles = found["true"].system.placement.thresholds[Operator.FC]
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
    assert sum(by_role) < 0.6 * sum(together)


def test_a_grid_has_single_rows_and_then_equal_shares_of_each_doubling():
    rows = [point.rlp for point in points_of(Operator.FC)]
    assert rows[:65] == [*range(1, 65), 68]
    assert rows == sorted(set(rows))
    assert rows[-1] == 8192
