"""SADDLE's systems: which operators are where, and what moves."""

from dataclasses import replace

import pytest

from papisim.paper.claims import Study, Verdict
from papisim.paper.figure import load_paper
from papisim.paper.operators import saddle
from papisim.paper.reproduce import reproduce
from papisim.paper.runner import Lab

PAPER = load_paper("operators")


def small(**settings: object) -> Study:
    """The study at a batch of eight, whose requests generate sixteen tokens."""
    study = PAPER.studies["saddle"]
    setups = {name: setup.model_copy(update={"output_tokens": 16}) for name, setup in study.published.setups.items()}
    given = {**study.published.settings, "batch": 8, **settings}
    return replace(study, published=study.published.model_copy(update={"setups": setups, "settings": given}))


@pytest.fixture(scope="module")
def runs() -> saddle.Runs:
    return saddle.served(small())


def test_every_system_of_the_paper_decodes(runs: saddle.Runs):
    assert {name for _, name in runs} == {*saddle.SYSTEMS}
    assert all(run.tokens_per_s > 0 for run in runs.values())


def test_plain_decoding_drafts_nothing_and_only_the_eager_systems_waste_any(runs: saddle.Runs):
    by = {name: run for (arbitration, name), run in runs.items() if arbitration == "dual_row_buffer"}
    assert by["GPU-AD"].drafted == by["PIM-AD"].drafted == 0
    assert all(by[name].wasted == 0 for name in ("GPU-SD", "PIM-SD", "SADDLE-d", "SADDLE-p"))
    assert by["SADDLE-s"].wasted > 0


def test_of_the_fixed_operators_attention_alone_is_on_pim(runs: saddle.Runs):
    gpus, fixed, moved = (runs["dual_row_buffer", name] for name in ("GPU-SD", "PIM-SD", "SADDLE"))
    assert gpus.pim_kernel_ratio == gpus.pim_time_ratio == 0
    assert 0 < fixed.pim_time_ratio < fixed.pim_kernel_ratio < 0.5
    assert moved.pim_kernel_ratio > fixed.pim_kernel_ratio, "the draft model's FC has eight rows at most"


def test_moving_operators_gains_whether_or_not_the_memory_serves_both_at_once(runs: saddle.Runs):
    for arbitration in ("dual_row_buffer", "blocked"):
        moved, fixed = (runs[arbitration, name].tokens_per_s for name in ("SADDLE", "SADDLE-s"))
        assert moved > fixed


@pytest.mark.slow
def test_the_claims_of_the_paper_get_the_verdicts_that_the_documentation_has():
    (each,) = reproduce(Lab(PAPER.choices, processes=1), PAPER.only(["saddle"]), {})
    verdicts = dict(zip(each.study.published.claims, (row.verdict for row in each.rows), strict=True))
    assert verdicts["plain"] is verdicts["remapping"] is Verdict.DIRECTION_HOLDS
    assert verdicts["remapping_ablation"] is verdicts["share_gain"] is Verdict.IN_RANGE
    assert verdicts["eager"] is verdicts["over_pim_ad"] is Verdict.OFF
    assert verdicts["controller"] is Verdict.NOT_TESTABLE
