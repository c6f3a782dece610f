"""Drawn factors: what the budget says without simulating is what simulations with drawn factors say."""

import math
from dataclasses import replace

import numpy as np
import pytest

from papisim.config.experiment import load_experiment, options_of
from papisim.devices.pim import Pool
from papisim.engine.run import simulate
from papisim.ops.kernel import Attention
from papisim.plan.machine import build_machine
from papisim.uncertainty.budget import Budget
from papisim.uncertainty.intervals import uncertainty_rows
from papisim.uncertainty.sampling import Draw, Sampler, sampled_rows, slower

LENGTHS = {"kind": "fixed", "input_tokens": 32, "output_tokens": 24}
BATCH = {"kind": "closed_batch", "n_requests": 2, "lengths": LENGTHS}


def run_of(hw: str, **options: object):
    return simulate(load_experiment(options_of(hw=hw, trace="llama7b", batch=2, workload=BATCH, **options)))


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "pim_only", "h200_single"])
def test_a_draw_takes_the_seconds_of_each_part_times_the_value_of_its_factor(hw):
    run = run_of(hw)
    budget, draw = Budget(run), Draw(0, 3)
    drawn_s = Sampler(run.experiment, budget, reseed=False).run(draw, 3).ledger.makespan_s
    parts = budget.time().amounts.items()
    expected_s = sum(amount * math.prod(draw.value(each) for each in factors) for factors, amount in parts)
    assert abs(expected_s / run.ledger.makespan_s - 1) > 0.01
    assert drawn_s == pytest.approx(expected_s, rel=3e-3)


def test_a_synchronous_host_is_a_part_like_any_other():
    run = run_of("h200_single", engine="vllm", set=("engine.host.scheduling=synchronous",))
    budget, draw = Budget(run), Draw(0, 2)
    drawn_s = Sampler(run.experiment, budget, reseed=False).run(draw, 2).ledger.makespan_s
    parts = budget.time().amounts.items()
    expected_s = sum(amount * math.prod(draw.value(each) for each in factors) for factors, amount in parts)
    assert drawn_s == pytest.approx(expected_s, rel=0.05)


def test_intervals_of_the_budget_are_those_of_draws():
    labels, runs = ("papi", "pim_only"), [run_of(hw) for hw in ("papi", "pim_only")]
    budget = uncertainty_rows(labels, runs)
    sampled = sampled_rows(labels, runs, 24, reseed=False)
    assert [(row["machine"], row["figure"]) for row in budget] == [(row["machine"], row["figure"]) for row in sampled]
    for fast, slow in zip(budget, sampled, strict=True):
        widths = [math.log(row["high"] / row["low"]) for row in (fast, slow)]
        assert widths[1] == pytest.approx(widths[0], rel=0.45), fast["figure"]
        assert abs(math.log(fast["mid"] / slow["mid"])) < 0.5 * max(widths)
        if fast["dominant_variance_ratio"] > 0.8:
            assert slow["dominant_factor"] == fast["dominant_factor"]


def test_attention_over_many_caches_is_slowed_as_one_by_one():
    pool = build_machine(load_experiment(options_of(hw="papi", trace="llama7b", batch=2)).system).pools["attn_pim"]
    assert isinstance(pool, Pool)
    slow = slower(pool, lambda kernel, outside: 1.5)
    kernel = Attention(
        n_requests=2, query_tokens=2, kv_tokens=64, longest_kv=32, pairs=64, n_heads=32, n_kv_heads=32, head_dim=128
    )
    assert slow.price(kernel).time_s == pytest.approx(1.5 * pool.price(kernel).time_s)
    assert slow.price(kernel).energy == pool.price(kernel).energy
    np.testing.assert_allclose(slow.price_growing(kernel, 40).time_s, 1.5 * pool.price_growing(kernel, 40).time_s)
    assert slow.price_growing(kernel, 1).time_s[0] == pytest.approx(slow.price(kernel).time_s)
    other = type(slow)(slow.name, slow.part, 2 * slow.count)
    assert other.price(kernel).time_s == pytest.approx(
        1.5 * type(pool)("x", pool.part, other.count).price(kernel).time_s
    )


def test_a_factor_has_one_value_per_draw_and_another_in_the_next():
    run = run_of("pim_only")
    factors = list(Budget(run).time().sensitivities)
    one, again, other = Draw(3, 0), Draw(3, 0), Draw(3, 1)
    assert [one.value(each) for each in factors] == [again.value(each) for each in factors]
    assert len({each.value(factors[0]) for each in (one, other)}) == 2
    assert replace(factors[0], source="another").name in one.normals
