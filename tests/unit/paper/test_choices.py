"""The PAPI paper's open choices: the assignments of each, its interpretations, and the parts of a run that each changes."""

import numpy as np
import pytest

from papisim.errors import InputError, InputErrors
from papisim.paper.choices import Protocol, load_choices
from papisim.paper.experiment import PARTS, Case, Cell, experiment_of, request_lengths
from papisim.paper.figure import load_paper
from papisim.paper.runner import Lab

PAPER = load_paper("papi").choices
SYSTEMS = ["papi", "a100_attacc", "a100_hbmpim", "attacc_only", "papi_pim_only"]
SMALL = Case("llama65b", "creative_writing", 4, 2)


@pytest.fixture(scope="module")
def lab():
    return Lab(PAPER, processes=1)


def record(lab, system, case=SMALL, **taken):
    job = lab.job(taken, Cell(system, case))
    lab.run([job])
    return lab.record(job)


def part(lab, name, system, **taken):
    """Return a part of decoding."""
    return record(lab, system, **taken).parts[1, PARTS.index(name)]


def test_the_physical_interpretation_changes_no_machine_and_draws_as_a_run_does():
    assert all(PAPER.overrides(PAPER.interpretation("physical"), system) == () for system in SYSTEMS)
    assert PAPER.protocol(PAPER.physical) == Protocol()


@pytest.mark.parametrize("name", PAPER.named)
def test_an_interpretation_takes_one_alternative_of_every_choice(name):
    taken = PAPER.interpretation(name)
    assert set(taken) == set(PAPER.choices)
    assert all(taken[name] in choice.alternatives for name, choice in PAPER.choices.items())


def test_every_alternative_says_why_it_is_plausible_and_where_that_is_from():
    for choice in PAPER.choices.values():
        assert all(each.why and each.source for each in choice.alternatives.values())


def test_the_first_alternative_of_a_choice_about_machines_sets_nothing():
    for choice in PAPER.choices.values():
        assert not choice.alternatives[choice.physical].set


BAD = """schema: papisim/choices/1
description: d
choices:
  a:
    question: q
    alternatives:
      x: {why: w, source: s}
      y: {why: w, source: s}
interpretations:
  paper: {%s}
"""


@pytest.mark.parametrize(
    ("taken", "message"),
    [("a: z", r"choices.yaml:10.*no alternative 'z'"), ("b: x", r"choices.yaml:10.*no choice 'b'; known: a")],
)
def test_an_interpretation_of_what_is_not_there_is_refused(tmp_path, taken, message):
    (tmp_path / "choices.yaml").write_text(BAD % taken)
    with pytest.raises((InputError, InputErrors), match=message):
        load_choices(tmp_path / "choices.yaml")


def test_an_unknown_interpretation_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="no interpretation 'papers'; did you mean 'paper'"):
        PAPER.interpretation("papers")


def test_a_paper_without_choices_has_the_physical_interpretation_alone(tmp_path):
    choices = load_choices(tmp_path / "choices.yaml")
    assert choices.interpretation("physical") == {}
    assert choices.protocol({}) == Protocol()
    with pytest.raises(InputError, match="no interpretation 'paper'"):
        choices.interpretation("paper")


CHOICES = [
    (name, alternative)
    for name, choice in PAPER.choices.items()
    for alternative, each in choice.alternatives.items()
    if each.set
]


def changes(before, after):
    return {
        name
        for index, name in enumerate(PARTS)
        if not np.allclose(before.parts[:, index], after.parts[:, index], rtol=1e-9, atol=0)
    }


@pytest.mark.parametrize(("choice", "alternative"), CHOICES)
def test_a_choice_changes_something_somewhere(lab, choice, alternative):
    cases = (SMALL, SMALL._replace(tlp=1))  # reuse needs two rows, and hides the gap of streaming
    assert any(
        changes(record(lab, system, case), record(lab, system, case, **{choice: alternative}))
        for system in SYSTEMS
        for case in cases
    )


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("choice", "alternative"), CHOICES)
def test_a_choice_changes_no_part_but_those_it_says_it_touches(lab, choice, alternative, system):
    changed = changes(record(lab, system), record(lab, system, **{choice: alternative}))
    touched = {name for name in PARTS if choice in PAPER.touching(system, name)}
    if system == "papi" and "fc" in touched:
        touched |= {"all_reduce", "device_energy", "link_energy"}  # α follows FC, and these follow α
    assert changed <= touched


class TestDirections:
    def test_rounds_of_six_microseconds_cost_more_than_a_librarys_kernels(self, lab):
        assert part(lab, "all_reduce", "papi", all_reduce="attacc") > 2 * part(lab, "all_reduce", "papi")

    def test_pim_that_hands_over_whole_sums_pays_no_all_reduce(self, lab):
        assert part(lab, "all_reduce", "attacc_only", all_reduce_on_pim="none") == 0
        assert part(lab, "all_reduce", "papi", all_reduce_on_pim="none") == 0, "eight rows stay on FC-PIM"
        assert part(lab, "all_reduce", "a100_attacc", all_reduce_on_pim="none") > 0

    def test_launching_small_kernels_costs_pim_only_machines_what_gpus_pay(self, lab):
        launched = part(lab, "other", "attacc_only", small_kernels_on_pim="launched")
        assert launched == pytest.approx(part(lab, "other", "papi"), rel=0.1)
        assert launched > 20 * part(lab, "other", "attacc_only")

    def test_reading_weights_again_costs_attacc_only_time_and_energy(self, lab):
        assert part(lab, "fc", "attacc_only", weight_reuse="none") > part(lab, "fc", "attacc_only")
        assert part(lab, "device_energy", "attacc_only", weight_reuse="none") > part(
            lab, "device_energy", "attacc_only"
        )

    def test_a_shared_bus_is_slower_and_an_older_one_too(self, lab):
        own = part(lab, "messages", "papi")
        for links in ("shared_pcie5", "own_pcie4"):
            assert part(lab, "messages", "papi", attention_links=links) > own

    def test_a_power_limit_slows_streaming(self, lab):
        assert part(lab, "attention", "a100_attacc", mac_pace="unlimited") <= part(lab, "attention", "a100_attacc")
        assert part(lab, "fc", "attacc_only", mac_pace="power_each_use") > part(lab, "fc", "attacc_only")

    def test_boards_draw_more_than_their_accesses(self, lab):
        board, accesses = (
            part(lab, "device_energy", "a100_attacc", gpu_energy=how) for how in ("board", "per_access")
        )
        assert board > 2 * accesses

    def test_alpha_follows_the_side_that_got_slower(self, lab):
        own, slower = (
            experiment_of(lab.job(interpretation, Cell("papi", SMALL))).tunings[0]
            for interpretation in ({}, {"mac_pace": "attacc_preset"})
        )
        assert (own.value, own.origin) == (56, "calibrated for this machine"), "with FPUs at their own pace"
        assert slower.value < 56
        assert slower.origin == "calibrated on the fly"


class TestLengths:
    def test_padding_makes_all_requests_as_long_as_the_longest(self):
        drawn = request_lengths(SMALL, Protocol())
        padded = request_lengths(SMALL, Protocol(padding="longest"))
        assert padded == ((max(p for p, _ in drawn), max(a for _, a in drawn)),) * 4

    def test_prompts_of_a_given_length_leave_answers_alone(self):
        drawn, long = (request_lengths(SMALL, Protocol(prompt_tokens=n)) for n in (None, 2048))
        assert [answer for _, answer in drawn] == [answer for _, answer in long]
        assert {prompt for prompt, _ in long} == {2048}

    def test_typical_batches_need_no_seed_and_have_the_records_median(self):
        case = SMALL._replace(batch=65)
        answers = [answer for _, answer in request_lengths(case, Protocol(composition="typical", seed=3))]
        assert answers == [a for _, a in request_lengths(case, Protocol(composition="typical"))]
        assert sorted(answers)[32] == 160

    def test_equal_requests_have_the_batchs_mean(self):
        drawn, equal = (request_lengths(SMALL._replace(equal=equal), Protocol()) for equal in (False, True))
        assert len(set(equal)) == 1
        assert equal[0][1] == round(sum(answer for _, answer in drawn) / 4)

    def test_how_runs_are_counted_does_not_change_them(self):
        assert request_lengths(SMALL, Protocol(mean="geometric", counted="decode")) == request_lengths(
            SMALL, Protocol()
        )


def test_what_memory_does_not_hold_is_no_result_and_no_error(lab):
    huge = Case("gpt3-175b", "creative_writing", 128, 1)
    job = lab.job({"prompts": "attacc_default", "batches": "padded"}, Cell("papi", huge))
    lab.run([job])
    assert lab.record(job) is None
