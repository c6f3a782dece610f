"""Sentences hold: what is said to help does so by as much as is said, and what is said to be is."""

import re
from dataclasses import replace

import pytest

from papisim.config.engine import KernelTimesSpec
from papisim.config.experiment import load_experiment, options_of
from papisim.engine.run import simulate
from papisim.report.meaning import meaning_frame_of, meaning_of_comparison, meaning_of_run
from papisim.results.comparison import Comparison
from papisim.results.metrics import summarise


def run_of(hw="papi", **options):
    return simulate(load_experiment(options_of(hw=hw, **{"trace": "llama7b", "batch": 4, **options})))


@pytest.fixture(scope="module")
def papi():
    return run_of()


def sentence(run, word):
    (found,) = [each for each in meaning_of_run(run) if word in each]
    return found


def test_halving_the_work_that_bounds_decoding_yields_what_is_said(papi):
    """An engine whose small kernels take half their time is simulated."""
    said = re.search(r"of small kernels on gpu would raise throughput by ([\d.]+) %", sentence(papi, "Halving"))
    experiment = load_experiment(options_of(hw="papi", trace="llama7b", batch=4))
    engine = experiment.engine.model_copy(update={"kernels": KernelTimesSpec(small_ratio=0.5)})
    halved = simulate(replace(experiment, engine=engine))
    before_s, after_s = (run.ledger.makespan_s for run in (papi, halved))
    decode_only = 0.02  # small kernels of the prefill are halved, too
    assert float(said[1]) / 100 == pytest.approx(before_s / after_s - 1, abs=decode_only)


def test_shares_of_the_work_are_those_of_the_summary(papi):
    summary = summarise(papi)
    times = summary["decode_time_by_category_s"]
    share = times["other"] / sum(times.values())
    assert f"small kernels on gpu ({100 * share:.1f} % of its time)" in sentence(papi, "bound by")


def test_fc_stays_below_alpha_and_moves_where_the_batch_falls_below_it(papi):
    alpha = papi.experiment.system.placement.alpha
    assert sentence(papi, "FC kernels stay") == (
        f"FC kernels stay on fc_pim: RLP·TLP, at most 4, never exceeds α = {alpha:g}."
    )
    moving = run_of(batch=48, tlp=2)
    first = moving.ledger.switches[0]
    assert first["rows"] <= alpha
    told = sentence(moving, "FC kernels move")
    assert f"from gpu to fc_pim at iteration {first['iteration']}, where RLP·TLP falls to {first['rows']}" in told


def test_without_a_choice_nothing_is_said_of_moves():
    assert not [each for each in meaning_of_run(run_of("pim_only")) if "FC kernels stay" in each or "move" in each]


def test_overlapping_work_and_arrivals_make_bounds_of_the_numbers():
    run = run_of("h200_single", engine="vllm", workload="azure_code", requests=6)
    assert "some of which overlap" in sentence(run, "Most work")
    assert "by at most" in sentence(run, "Halving")


def test_a_long_answer_that_sets_the_time_is_told():
    run = run_of(batch=16)
    share = run.ledger.tail_s / summarise(run)["decode_s"]
    assert f"For {100 * share:.1f} % of decoding at most 2 requests are left" in sentence(run, "left")


def test_a_machine_is_faster_for_the_largest_difference_of_times(papi):
    other = run_of("pim_only")
    comparison = Comparison(("papi", "pim_only"), (papi, other))
    why, energy = meaning_of_comparison(comparison)
    spent = [summarise(run)["decode_time_by_category_s"] for run in (papi, other)]
    saved = {name: spent[0][name] - spent[1][name] for name in spent[0]}
    assert max(saved, key=saved.__getitem__) == "other"
    (row,) = comparison.rows[1:]
    assert why.startswith(f"pim_only decodes {row['decode_speed_up_ratio']:.2f}× as fast as papi: small kernels ")
    assert energy.startswith(f"papi uses {row['energy_efficiency_ratio']:.2f}× the energy per token of pim_only")


def test_the_reverse_comparison_says_the_reverse(papi):
    comparison = Comparison(("pim_only", "papi"), (run_of("pim_only"), papi))
    ratio = 1 / comparison.rows[1]["decode_speed_up_ratio"]
    assert meaning_of_comparison(comparison)[0].startswith(
        f"papi takes {ratio:.2f}× as long as pim_only: small kernels"
    )


def test_equal_machines_are_equally_fast(papi):
    assert meaning_of_comparison(Comparison(("one", "two"), (papi, papi))) == ["two decodes as fast as one (1.00×)."]


def test_what_decodes_nothing_means_nothing():
    lengths = {"kind": "fixed", "input_tokens": 8, "output_tokens": 1}
    run = run_of(workload={"kind": "closed_batch", "n_requests": 1, "lengths": lengths}, batch=1)
    assert meaning_of_run(run) == []
    assert list(meaning_frame_of(run)["meaning"].columns) == ["machine", "sentence"]
