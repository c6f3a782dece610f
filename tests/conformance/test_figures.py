"""What holds for every figure of every paper: what exists is tested."""

import importlib
import pkgutil

import pytest

from papisim.paper.figure import load_paper, papers

FIGURES = [(paper, name) for paper in papers() for name in load_paper(paper).figures]
every_figure = pytest.mark.parametrize(("paper", "name"), FIGURES)


@every_figure
def test_it_needs_each_run_once_and_all_of_them_are_of_its_paper(paper, name):
    loaded = load_paper(paper)
    alone = loaded.only([name])
    cells = alone.cells
    assert len(cells) == len(set(cells))
    assert set(cells) <= set(loaded.cells)


@every_figure
def test_its_entry_says_what_is_claimed(paper, name):
    study = load_paper(paper).studies[name]
    assert study.published.title or study.published.claims
    for claim in study.published.claims.values():
        assert claim.what


@pytest.mark.parametrize("paper", papers())
def test_every_module_with_a_figure_has_an_entry(paper):
    home = importlib.import_module(f"papisim.paper.{paper}")
    modules = [
        importlib.import_module(f"{home.__name__}.{info.name}") for info in pkgutil.iter_modules(home.__path__)
    ]
    with_figure = {module.__name__.rpartition(".")[2] for module in modules if hasattr(module, "FIGURE")}
    assert with_figure == set(load_paper(paper).figures)
