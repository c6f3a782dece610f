"""Changes are real: what is promised is what a run with the same options does."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.diagnosis.changes import Explored, best, numbers
from papisim.diagnosis.explanation import explain
from papisim.diagnosis.recording import Recording, Repricing
from papisim.diagnosis.scope import Scope
from papisim.engine.run import simulate

SHORT = "workload.lengths={kind: fixed, input_tokens: 32, output_tokens: 24}"
OPTIONS = RunOptions(hw="papi", trace="llama7b", batch=4, set=(SHORT,))


@pytest.fixture(scope="module")
def explained():
    return explain(OPTIONS)


def test_every_yield_is_that_of_a_run_with_the_changes_options(explained):
    for each in explained.best:
        run = simulate(load_experiment(each.change.apply(OPTIONS)))
        assert Scope.RUN.tokens_per_s(run) == each.throughput_tokens_per_s
        assert each.speed_up_ratio == pytest.approx(each.throughput_tokens_per_s / explained.throughput_tokens_per_s)


def test_the_best_come_first_and_all_of_them_help(explained):
    gains = [each.speed_up_ratio for each in explained.best]
    assert len(gains) >= 3
    assert gains == sorted(gains, reverse=True)
    assert min(gains) > 1


def test_numbers_and_choices_are_both_tried(explained):
    assert {each.change.kind for each in explained.numbers} <= {"number", "count"}
    assert {"gpu", "placement"} <= {each.change.kind for each in explained.choices}


def test_no_other_number_of_the_hardware_made_better_by_the_step_yields_more(explained):
    """Brute force over all numbers: the foreseen order is the simulated one."""
    recording = Recording()
    run = simulate(load_experiment(OPTIONS), probe=recording)
    explored = Explored(OPTIONS, run, Repricing(recording, run.machine))
    everything = best(explored, numbers(explored, explained.elasticities, 0.2), 10**6, lambda what: None)
    held = [each for each in everything if each.refused is None]
    assert len(held) > 10
    top = [each.change.overrides for each in held[: len(explained.numbers)]]
    assert top == [each.change.overrides for each in explained.numbers if each.refused is None][: len(top)]


def test_what_does_not_fit_is_tried_no_further_and_says_why():
    """An FC-PIM die has no room for a fifth FPU beside each bank."""
    explained = explain(RunOptions(hw="papi_pim_only", trace="llama7b", batch=32, set=(SHORT,)), wanted=30)
    refused = {each.change.overrides[0]: each for each in explained.numbers if each.refused}
    fifth = refused["devices.fc_pim.part.fpu.fpus=5"]
    assert "mm² of a die" in fifth.refused
    assert fifth.throughput_tokens_per_s is fifth.speed_up_ratio is None
    assert fifth not in explained.best


def test_a_further_gpu_comes_with_its_rank_and_its_lanes():
    explained = explain(RunOptions(hw="gpu_only", trace="llama7b", batch=4, set=(SHORT,)), wanted=20)
    (more,) = (
        each for each in explained.numbers if each.change.kind == "count" and "gpu" in each.change.overrides[0]
    )
    assert more.change.overrides == ("devices.gpu.count=7", "links.nvlink.count=7")
