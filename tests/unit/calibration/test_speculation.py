"""The profile of speculation is what simulated runs do."""

import pytest

from papisim.calibration.speculation import expected_emitted, knee_flop_per_byte, profile, speculator_of, steady
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.plan.machine import build_machine
from papisim.policies.speculation.base import NO_DRAFT, Draft

LENGTHS = range(7)
OUTPUT = 800
GEOMETRIC = "acceptance={kind: geometric, alpha: 0.8}"


def options(hw: str, batch: int, kv: int, *overrides: str) -> RunOptions:
    lengths = f"workload.lengths={{kind: fixed, input_tokens: {kv}, output_tokens: {OUTPUT}}}"
    return RunOptions(hw=hw, trace="llama7b", batch=batch, draft="eagle_head", set=(GEOMETRIC, lengths, *overrides))


def simulated_token_s(hw: str, batch: int, length: int, kv: int) -> float:
    """Seconds per emitted token of one request in a run, while its batch is full."""
    run = simulate(load_experiment(options(hw, batch, kv, f"speculation={{kind: fixed, tlp: {length + 1}}}")))
    full = [step for step in run.ledger.steps if step.kind == "decode" and step.rlp == batch]
    return batch * sum(step.time_s for step in full) / sum(step.tokens for step in full)


@pytest.mark.parametrize(("hw", "batch"), [("papi", 2), ("papi", 16), ("gpu_only", 4), ("gpu_only", 64)])
def test_the_table_is_the_brute_force_optimum_of_simulated_runs(hw: str, batch: int):
    kv = 256
    simulated = {length: simulated_token_s(hw, batch, length, kv) for length in LENGTHS}
    found = profile(speculator_of(load_experiment(options(hw, batch, kv))), [batch], LENGTHS, kv + OUTPUT // 2)
    (row,) = found.table()
    assert simulated[row.length] <= 1.01 * min(simulated.values()), "the chosen length is as good as the best"
    for length in LENGTHS:
        assert found.at(batch, length).token_s == pytest.approx(simulated[length], rel=0.05)


def test_the_best_length_falls_as_the_batch_rises():
    speculator = speculator_of(load_experiment(options("gpu_only", 1, 256)))
    table = profile(speculator, [64, 1, 256, 8, 2048], LENGTHS, 256).table()
    lengths = [row.length for row in table]
    assert [row.up_to_batch for row in table] == [1, 8, 64, 256, 2048]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]


def test_no_draft_emits_one_token_and_costs_an_iteration():
    speculator = speculator_of(load_experiment(options("gpu_only", 1, 256)))
    found = profile(speculator, [3], [], 256)
    assert [(p.length, p.emitted) for p in found.points] == [(0, 1.0)]
    assert found.speed_up(3) == 1.0
    assert expected_emitted(speculator.acceptance, NO_DRAFT) == 1.0
    assert expected_emitted(speculator.acceptance, Draft(2)) == pytest.approx(1 + 0.8 + 0.64, rel=0.02)


def test_what_drafts_add_adds_up():
    found = profile(speculator_of(load_experiment(options("gpu_only", 1, 256))), [4], [3], 256)
    assert sum(found.added(4, 3).values()) == pytest.approx(found.cost(4, 3) - 1)
    assert next(iter(found.added(4, 3))) == "draft"


def test_a_steady_batch_has_the_rate_of_its_profile():
    experiment = load_experiment(options("gpu_only", 8, 256, "speculation={kind: fixed, tlp: 4}"))
    measured = steady(speculator_of(experiment), range(8), 256, iterations=200, warm_up=0)
    point = profile(speculator_of(experiment), [8], [3], 256 + 300).at(8, 3)
    assert measured.drafted == 3
    assert measured.tokens_per_s == pytest.approx(point.tokens_per_s, rel=0.05)


def test_the_knee_is_that_of_the_data_sheet_times_what_gemms_and_streams_reach_of_their_peaks():
    experiment = load_experiment(options("gpu_only", 1, 256))
    part = experiment.system.parts["gpu"]
    knee = knee_flop_per_byte(build_machine(experiment.system).pools["gpu"])
    assert 0.5 < knee / (part.peak_flop_per_s / part.memory_bandwidth_bytes_per_s) < 2
