"""All interpretations at once: runs assembled from parts equal simulated ones, and the ranking finds the best."""

import itertools

import numpy as np
import pytest

from papisim.paper.all_choices import Axes, axes_of, cover, cross, evaluate
from papisim.paper.claims import numbers
from papisim.paper.experiment import PARTS, Case, Cell
from papisim.paper.figure import load_paper
from papisim.paper.outcomes import Run
from papisim.paper.ranking import rank
from papisim.paper.reproduce import reproduce
from papisim.paper.runner import Lab

PAPI = load_paper("papi")
CHOICES = PAPI.choices
SYSTEMS = ["papi", "a100_attacc", "a100_hbmpim", "attacc_only", "papi_pim_only"]


@pytest.fixture(scope="module")
def lab():
    return Lab(CHOICES, processes=1)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_cover_has_every_part_in_every_combination_of_what_touches_it(system):
    axes = axes_of(CHOICES)
    chosen = cover(axes, system)
    for part in PARTS:
        names = axes.relevant(system, part)
        combinations = {tuple(each[name] for name in names) for each in chosen}
        assert combinations == set(itertools.product(*(axes.taken[name] for name in names)))
    assert len(chosen) < 64 < axes.n_interpretations


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_runs_assembled_from_parts_equal_simulated_ones(lab, system):
    """Forty token-rows shrink below α and, in some interpretations, start above it."""
    axes = axes_of(CHOICES)
    cell = Cell(system, Case("llama65b", "creative_writing", 10, 4))
    narrow = {**axes.taken, "batches": ("drawn",), "prompts": ("dataset",)}
    axes = Axes(CHOICES, narrow)
    run = cross(lab, axes, [cell])[cell]
    rng = np.random.default_rng(3)
    for _ in range(12):
        taken = {name: str(rng.choice(alternatives)) for name, alternatives in axes.taken.items()}
        job = lab.job(taken, cell)
        lab.run([job])
        simulated, place = Run.of(lab.record(job)), axes.index(taken, axes.simulated)
        for part in PARTS:
            whole = [np.broadcast_to(row, axes.shape)[place] for row in run.parts[part]]
            assert whole == pytest.approx(simulated.parts[part], rel=1e-9)
        assert run.static_w == simulated.static_w
        assert np.broadcast_to(run.iterations, axes.shape)[place] == simulated.iterations


SOME = PAPI.only(["fig7", "fig12"])


AXES = axes_of(CHOICES, ["query_reuse", "attention_links", "mean"])


@pytest.fixture(scope="module")
def found(lab):
    return rank(lab, AXES, SOME)


class TestSmallProduct:
    def test_every_interpretation_is_scored(self, found):
        assert found.n_interpretations == AXES.n_interpretations == 2 * 4 * 3
        assert found.n_too_large == 0
        assert len(found.best) == found.n_interpretations

    def test_the_best_interpretation_is_the_one_that_reproducing_each_finds(self, lab, found):
        names = ["query_reuse", "attention_links"]
        published = numbers(SOME.studies)
        scores = []
        for taken in AXES.combinations(names):
            values = {
                (each.name, claim): value
                for each in reproduce(lab, SOME, taken)
                for claim, value in each.values.items()
            }
            logs = [abs(np.log(values[key] / value)) for key, value in published.items()]
            scores.append((float(np.mean(logs)), taken))
        least, taken = min(scores, key=lambda each: each[0])
        assert found.best[0].score == pytest.approx(least, rel=1e-9)
        assert {name: found.best[0].interpretation[name] for name in names} == taken

    def test_values_of_an_interpretation_are_those_of_its_reproduction(self, lab, found):
        best = found.best[0]
        for each in reproduce(lab, SOME, best.interpretation):
            for claim, value in each.values.items():
                if f"{each.name}.{claim}" in best.values:
                    assert best.values[f"{each.name}.{claim}"] == pytest.approx(value, rel=1e-9)

    def test_ranges_span_the_values_of_all_interpretations(self, found):
        spans = {(each.figure, each.claim): each for each in found.ranges}
        shares = [each.values["fig12.communication"] for each in found.best]
        span = spans["fig12", "communication"]
        assert (span.smallest, span.largest) == pytest.approx((min(shares), max(shares)))
        share = spans["fig7", "share_1"]
        assert share.smallest == share.largest
        assert share.reached, "within the claim's two per cent"
        assert not spans["fig12", "attacc_communication_ms"].reached

    def test_effects_are_ratios_to_the_physical_alternative(self, found):
        effects = {(row["choice"], row["alternative"], row["claim"]): row["ratio"] for row in found.effects}
        assert effects["attention_links", "shared_pcie5", "papi_communication_ms"] > 1
        assert effects["attention_links", "shared_pcie5", "papi_fc_ms"] == pytest.approx(1)
        assert effects["mean", "geometric", "communication"] == pytest.approx(1)


def test_figures_are_computed_once_per_way_of_evaluating():
    axes = axes_of(CHOICES, ["counted", "mean"])
    ways = [each.evaluation for each in evaluate(axes, {}, PAPI.only(["fig7"]))]
    assert ways == list(axes.combinations(["counted", "mean"]))


def test_figures_of_single_kernels_are_the_same_in_every_interpretation(lab):
    """So that the product may take them once."""
    fig7 = PAPI.only(["fig7"])
    (physical,) = reproduce(lab, fig7, {})
    for name, choice in CHOICES.choices.items():
        for alternative in choice.alternatives:
            (other,) = reproduce(lab, fig7, {name: alternative})
            assert other.values == physical.values
