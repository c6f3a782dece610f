"""Runs split by factor: the parts add up, machines that share a part share its errors, and nothing changes unless asked."""

import math

import pytest

from papisim.config.experiment import load_experiment, options_of
from papisim.engine.run import simulate
from papisim.uncertainty.budget import Budget
from papisim.uncertainty.factor import estimate
from papisim.uncertainty.intervals import Uncertain, ratio_intervals, uncertainty_rows


def run_of(hw: str, **options: object):
    return simulate(load_experiment(options_of(hw=hw, trace="llama7b", batch=4, **options)))


@pytest.fixture(scope="module")
def runs():
    return {hw: run_of(hw) for hw in ("papi", "gpu_only", "pim_only", "h200_single")}


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "pim_only", "h200_single"])
def test_the_parts_add_up_to_the_run(runs, hw):
    budget, summary = Budget(runs[hw]), Uncertain(runs[hw]).summary
    assert budget.time().modelled == pytest.approx(summary["makespan_s"], rel=1e-9)
    assert budget.energy.modelled == pytest.approx(summary["energy_j"], rel=1e-9)


def test_an_overlapped_host_and_waiting_for_arrivals_leave_the_makespan_whole():
    run = run_of("h200_single", engine="vllm", workload="azure_code", requests=6)
    assert Budget(run).time().modelled == pytest.approx(run.ledger.makespan_s, rel=1e-9)


def test_machines_that_share_a_gpu_are_compared_more_surely_than_two_that_share_nothing(runs):
    first, second = Uncertain(runs["papi"]), Uncertain(runs["gpu_only"])
    speed_up = next(each for each in ratio_intervals([first, second])[1] if each.figure == "speed_up_ratio")
    alone = [estimate(each.quantities["throughput_tokens_per_s"]).log_sd for each in (first, second)]
    assert speed_up.estimate.log_sd < 0.95 * math.hypot(*alone)


def test_a_machine_beside_itself_is_as_fast_for_sure(runs):
    rows = uncertainty_rows(["one", "other"], [runs["papi"], runs["papi"]])
    (speed_up,) = [row for row in rows if row["figure"] == "speed_up_ratio"]
    assert (speed_up["low"], speed_up["value"], speed_up["high"]) == pytest.approx((1, 1, 1))


def test_kernels_outside_a_fit_are_less_sure(runs):
    inside, outside = (Budget(runs[hw]) for hw in ("h200_single", "gpu_only"))
    assert estimate(inside.time()).log_sd < 0.5 * estimate(outside.time()).log_sd


def test_measured_factors_name_their_tables_and_assumed_ones_their_reasons(runs):
    for run in runs.values():
        budget = Budget(run)
        factors = {factor for quantity in (budget.time(), budget.energy) for factor in quantity.sensitivities}
        assert all(factor.source and factor.sigma > 0 for factor in factors)
    assert {factor.origin for factor in Budget(runs["h200_single"]).time().sensitivities} >= {"measured"}


def test_devices_of_a_kind_without_evidence_have_assumed_factors():
    lengths = {"kind": "fixed", "input_tokens": 8, "output_tokens": 4}
    budget = Budget(run_of("cent", workload={"kind": "closed_batch", "n_requests": 1, "lengths": lengths}))
    factors = {*budget.time().sensitivities, *budget.energy.sensitivities}
    assert {factor.origin for factor in factors} == {"assumed"}
