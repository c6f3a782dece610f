"""The cross product: runs put together from parts equal those that are simulated, and scores find the best reading."""

import itertools

import numpy as np
import pytest

from papisim.paper.archive import Archive
from papisim.paper.cell import PARTS, Case, Cell
from papisim.paper.crossing import axes_of, cover, cross, evaluate
from papisim.paper.figure import figures
from papisim.paper.interpretation import interpret
from papisim.paper.lab import Lab
from papisim.paper.outcomes import Run
from papisim.paper.readings import load_readings
from papisim.paper.reproduction import reproduce
from papisim.paper.score import numbers
from papisim.paper.study import load_studies

READINGS, FIGURES, STUDIES = load_readings("papi"), figures("papi"), load_studies("papi")
SYSTEMS = ["papi", "a100_attacc", "a100_hbmpim", "attacc_only", "papi_pim_only"]


@pytest.fixture(scope="module")
def lab():
    return Lab(READINGS, processes=1)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_cover_has_every_part_in_every_combination_of_what_touches_it(system):
    axes = axes_of(READINGS)
    chosen = cover(axes, system)
    for part in PARTS:
        names = axes.relevant(system, part)
        combinations = {tuple(each[name] for name in names) for each in chosen}
        assert combinations == set(itertools.product(*(axes.taken[name] for name in names)))
    assert len(chosen) < 64 < axes.n_readings


@pytest.mark.parametrize("system", SYSTEMS)
def test_runs_put_together_from_parts_equal_simulated_ones(lab, system):
    """Forty token-rows shrink below α and, in some readings, start above it."""
    axes = axes_of(READINGS)
    cell = Cell(system, Case("llama65b", "creative_writing", 10, 4))
    narrow = {**axes.taken, "batches": ("drawn",), "prompts": ("dataset",)}
    axes = type(axes)(READINGS, narrow)
    run = cross(lab, axes, [cell])[cell]
    rng = np.random.default_rng(3)
    for _ in range(12):
        reading = {name: str(rng.choice(alternatives)) for name, alternatives in axes.taken.items()}
        job = lab.job(reading, cell)
        lab.run([job])
        simulated, place = Run.of(lab.record(job)), axes.index(reading, axes.simulated)
        for part in PARTS:
            whole = [np.broadcast_to(row, axes.shape)[place] for row in run.parts[part]]
            assert whole == pytest.approx(simulated.parts[part], rel=1e-9)
        assert run.static_w == simulated.static_w
        assert np.broadcast_to(run.iterations, axes.shape)[place] == simulated.iterations


SOME = {name: FIGURES[name] for name in ("fig7", "fig12")}


AXES = axes_of(READINGS, ["query_reuse", "attention_links", "mean"])


@pytest.fixture(scope="module")
def found(lab):
    return interpret(lab, AXES, SOME, STUDIES)


class TestSmallProduct:
    def test_every_reading_is_scored(self, found):
        assert found.n_readings == AXES.n_readings == 2 * 4 * 3
        assert found.n_too_large == 0
        assert len(found.best) == found.n_readings

    def test_the_best_reading_is_the_one_that_reproducing_each_finds(self, lab, found):
        names = ["query_reuse", "attention_links"]
        published = numbers({name: STUDIES[name] for name in SOME})
        scores = []
        for reading in AXES.combinations(names):
            values = {
                (each.name, claim): value
                for each in reproduce(lab, reading, SOME, STUDIES)
                for claim, value in each.values.items()
            }
            logs = [abs(np.log(values[key] / value)) for key, value in published.items()]
            scores.append((float(np.mean(logs)), reading))
        least, reading = min(scores, key=lambda each: each[0])
        assert found.best[0].score == pytest.approx(least, rel=1e-9)
        assert {name: found.best[0].reading[name] for name in names} == reading

    def test_values_of_a_reading_are_those_of_its_reproduction(self, lab, found):
        best = found.best[0]
        for each in reproduce(lab, best.reading, SOME, STUDIES):
            for claim, value in each.values.items():
                if f"{each.name}.{claim}" in best.values:
                    assert best.values[f"{each.name}.{claim}"] == pytest.approx(value, rel=1e-9)

    def test_ranges_span_what_readings_make_of_a_number(self, found):
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


def test_counting_is_done_once_a_way_of_counting(lab):
    axes = axes_of(READINGS, ["counted", "mean"])
    ways = [each.counting for each in evaluate(axes, {}, {"fig7": FIGURES["fig7"]}, STUDIES)]
    assert ways == list(axes.combinations(["counted", "mean"]))


def test_figures_of_single_kernels_count_the_same_in_every_reading(lab):
    """So that the product may take them once."""
    wanted = {"fig7": FIGURES["fig7"]}
    (physical,) = reproduce(lab, {}, wanted, STUDIES)
    for name, choice in READINGS.choices.items():
        for alternative in choice.alternatives:
            (other,) = reproduce(lab, {name: alternative}, wanted, STUDIES)
            assert other.values == physical.values


def test_an_interrupted_study_goes_on_where_it_was(tmp_path):
    cell = Cell("attacc_only", Case("llama65b", "creative_writing", 4, 4))
    first = Lab(READINGS, processes=1, archive=Archive(tmp_path))
    job = first.job({}, cell)
    first.run([job])
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text() + '["cut of')
    told = []
    again = Lab(READINGS, 1, lambda done, of: told.append((done, of)), Archive(tmp_path))
    again.run([job])
    assert not told, "nothing was left to run"
    assert (again.record(job).parts == first.record(job).parts).all()
    assert again.record(job)[1:] == first.record(job)[1:]
