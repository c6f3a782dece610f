"""The share of time priced outside the range of a fit: conserved over steps, however they are run and recorded."""

import pytest

from papisim.exploration.evaluate import flat
from papisim.results.comparison import Comparison
from papisim.results.metrics import summarise

LENGTHS = "workload.lengths={kind: fixed, input_tokens: 100, output_tokens: 120}"
#: caches of 100 to 219 tokens grow through the range
NARROW = "devices.gpu.part.attention.libraries.flash_attn.covers_kv=[130, 180]"
OTHER_BOARD = "devices.gpu.part.multiprocessors=200"


def outside(run, *changes, **options):
    return summarise(run(**{"hw": "a100_single", "batch": 4, "set": [LENGTHS, *changes], **options}))


def seconds(summary):
    return {(each["category"], each["reason"]): each["time_s"] for each in summary["outside_fit"]}


def test_nothing_is_outside_where_every_kernel_is_inside(run):
    summary = outside(run)
    assert summary["outside_fit_time_ratio"] == 0.0
    assert summary["outside_fit"] == []


def test_all_time_of_a_board_that_was_not_measured_is_outside(run):
    summary = outside(run, OTHER_BOARD)
    assert summary["outside_fit_time_ratio"] == pytest.approx(1.0, rel=1e-12)
    assert {each["reason"] for each in summary["outside_fit"]} == {
        "another board, multiprocessors 200 (measured: multiprocessors 108)"
    }
    assert {each["category"] for each in summary["outside_fit"]} == {"fc", "attention", "other"}


@pytest.mark.parametrize("changes", [[], [NARROW], [OTHER_BOARD], [NARROW, "devices.gpu.count=6"]])
def test_the_share_times_the_time_of_all_work_is_the_sum_over_the_reasons(run, changes):
    simulated = run(hw="a100_single", batch=4, set=[LENGTHS, *changes])
    summary, work_s = summarise(simulated), simulated.ledger.sums().time_s
    assert summary["outside_fit_time_ratio"] * work_s == pytest.approx(sum(seconds(summary).values()))
    assert sum(each["time_ratio"] for each in summary["outside_fit"]) == pytest.approx(
        summary["outside_fit_time_ratio"]
    )


@pytest.mark.parametrize("further", [{}, {"tlp": 3}, {"batching": "chunked_prefill"}])
def test_iterations_run_at_once_are_outside_for_as_long_as_one_by_one(run, further):
    """The caches of a stretch enter the range and leave it: the seconds are those of iterations on their own."""
    at_once = seconds(outside(run, NARROW, **further))
    one_by_one = seconds(outside(run, NARROW, fast_forward=False, **further))
    assert {reason for _, reason in at_once} == {"kv below 130", "kv above 180"}
    assert at_once == pytest.approx(one_by_one, rel=1e-9)


def test_the_seconds_are_those_of_the_iterations_whose_caches_are_outside(run):
    simulated = run(hw="a100_single", batch=4, fast_forward=False, set=[LENGTHS, NARROW])
    expected = {"kv below 130": 0.0, "kv above 180": 0.0}
    for step in simulated.ledger.steps:
        kv_tokens = 100 if step.kind == "prefill" else step.kv_tokens / step.rlp + 1
        # writing the new K and V is attention, too, and has no fit
        if not 130 <= kv_tokens <= 180:
            expected["kv below 130" if kv_tokens < 130 else "kv above 180"] += step.time_by["attention"]
    found = {reason: time_s for (_, reason), time_s in seconds(summarise(simulated)).items()}
    for reason, time_s in expected.items():
        assert 0.75 * time_s < found[reason] < time_s


def test_a_pipeline_and_folded_layers_keep_the_share(run):
    stages = ["devices.gpu.count=4", "links.nvlink.count=4", "roles.pipeline={stages: 4, link: nvlink}"]
    folded, layers = (outside(run, NARROW, *stages, fold=fold) for fold in (True, False))
    assert 0 < folded["outside_fit_time_ratio"] < 1
    assert folded["outside_fit_time_ratio"] == pytest.approx(layers["outside_fit_time_ratio"], rel=1e-9)


def test_a_comparison_has_the_share_of_each_run(run):
    runs = tuple(run(hw="a100_single", batch=4, set=[LENGTHS, *changes]) for changes in ([], [OTHER_BOARD]))
    rows = Comparison(("measured", "made up"), runs).rows
    assert [row["outside_fit_time_ratio"] for row in rows] == pytest.approx([0.0, 1.0])


def test_a_frame_of_a_sweep_has_the_number_of_reasons_also_where_there_are_none(run):
    none, some = (flat(outside(run, *changes)) for changes in ([], [NARROW]))
    assert (none["outside_fit"], none["outside_fit_time_ratio"]) == (0, 0.0)
    assert some["outside_fit"] == 2
