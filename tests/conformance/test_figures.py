"""Laws of every figure of every paper: a module joins by existing, an entry by being published."""

import importlib
import math
import pkgutil

import numpy as np
import pytest

from papisim.paper.claims import Value
from papisim.paper.experiment import PARTS, PHASES
from papisim.paper.figure import Explained, Figure, View, load_paper, papers
from papisim.paper.outcomes import Outcomes, Run
from papisim.paper.runner import Bench

PAPERS = {name: load_paper(name) for name in papers()}
FIGURES = [(paper, name) for paper, each in PAPERS.items() for name in each.figures]
CROSSED = [(paper, name) for paper, name in FIGURES if PAPERS[paper].choices.choices]


def made_up_run(seed: str, interpretations: int | None = None) -> Run:
    """Return a run of plausible values, as numbers or as arrays over interpretations."""
    rng = np.random.default_rng([*seed.encode()])
    shape = (len(PHASES),) if interpretations is None else (len(PHASES), interpretations)
    parts = {part: rng.uniform(1.0, 2.0, shape) for part in PARTS}
    return Run(parts, static_w=100.0, iterations=10, fc_pim_ratio=0.5)


def view(paper: str, name: str, interpretations: int | None = None) -> View:
    """Return a figure's view on made-up runs: figures are functions of what they are given."""
    whole = PAPERS[paper]
    study, figure = whole.studies[name], whole.figures[name]
    runs = {cell: made_up_run(repr(cell), interpretations) for cell in figure.cells(study)}
    return View(study, Outcomes(runs, whole.choices.protocol({})), Bench(whole.choices, {}))


@pytest.fixture(scope="module")
def view_of():
    """A figure's view, kept so that work is done once for all laws."""
    kept: dict[tuple[str, str], View] = {}

    def of(paper: str, name: str) -> View:
        if (paper, name) not in kept:
            kept[paper, name] = view(paper, name)
        return kept[paper, name]

    return of


@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_publishes_an_entry_for_each_of_its_figures(paper):
    package = importlib.import_module(f"papisim.paper.{paper}")
    modules = [
        importlib.import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    ]
    figures = {module.__name__.rpartition(".")[2] for module in modules if hasattr(module, "FIGURE")}
    assert figures == set(PAPERS[paper].studies)
    assert all(isinstance(figure, Figure) for figure in PAPERS[paper].figures.values())
    assert PAPERS[paper].title


@pytest.mark.parametrize(("paper", "name"), FIGURES)
def test_an_entry_says_what_it_shows_what_it_assumes_and_where_its_numbers_are_from(paper, name):
    study = PAPERS[paper].studies[name]
    assert study.assumed
    assert not study.published.settings or study.published.settings_source
    for claim in study.published.claims.values():
        assert claim.what
        assert claim.source


@pytest.mark.parametrize(("paper", "name"), FIGURES)
def test_cells_are_distinct_and_the_same_at_each_asking(paper, name):
    figure, study = PAPERS[paper].figures[name], PAPERS[paper].studies[name]
    cells = figure.cells(study)
    assert len(set(cells)) == len(cells)
    assert figure.cells(study) == cells


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "name"), FIGURES)
def test_every_claim_has_a_value_and_no_value_lacks_a_claim(view_of, paper, name):
    values = PAPERS[paper].figures[name].values(view_of(paper, name))
    assert set(values) == set(PAPERS[paper].studies[name].published.claims)
    for claim, value in values.items():
        explained = value if isinstance(value, Explained) else Explained(float(value), "")
        assert explained.value is not None or explained.reason, f"{claim} cannot be tested, and does not say why"
        assert explained.value is None or math.isfinite(explained.value)


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "name"), [each for each in FIGURES if each[1] != "batch_by_policy"])
def test_a_figure_has_data_in_plain_values_and_draws_each_of_its_series(view_of, tmp_path, paper, name):
    figure = PAPERS[paper].figures[name]
    table = figure.table(view_of(paper, name))
    assert table
    assert len({tuple(row) for row in table}) == 1, "all rows have the same columns"
    assert all(isinstance(value, (str, int, float)) for row in table for value in row.values())
    pytest.importorskip("matplotlib")
    png, pdf = figure.drawing.draw(table, name, tmp_path / name)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(("paper", "name"), CROSSED)
def test_values_of_many_interpretations_are_those_of_each(paper, name):
    """A figure may not average over interpretations, nor choose by a value what only numbers can choose."""
    many = 3
    whole, figure = view(paper, name, many), PAPERS[paper].figures[name]
    together = figure.values(whole)
    for index in range(many):
        runs = {cell: one_of(run, index) for cell, run in whole.outcomes.runs.items()}
        alone = figure.values(View(whole.study, Outcomes(runs, whole.outcomes.protocol), whole.bench))
        for claim, value in together.items():
            assert at(value, index, many) == pytest.approx(alone[claim], rel=1e-12)


def one_of(run: Run, index: int) -> Run:
    parts = {part: values[:, index] for part, values in run.parts.items()}
    return Run(parts, run.static_w, run.iterations, run.fc_pim_ratio)


def at(value: Value, index: int, many: int) -> float:
    return float(np.broadcast_to(value, (many,))[index])
