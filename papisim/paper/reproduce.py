"""A paper's figures in one interpretation: simulated values, and how they compare with the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from papisim.paper.choices import Assignments, Interpretation
from papisim.paper.claims import Row, Study, Value, numbers, order_holds, score
from papisim.paper.figure import Explained, Figure, Paper, Table, View
from papisim.paper.runner import NOTHING, Bench, Lab


@dataclass(frozen=True)
class Reproduced:
    """A figure in one interpretation.

    Attributes:
        name: the figure's name.
        study: its published entry.
        values: the simulated value of each claim; not a number where there is none.
        rows: published and simulated values, with verdicts.
    """

    name: str
    study: Study
    values: Mapping[str, float]
    rows: Sequence[Row]
    _figure: Figure = field(repr=False)
    _view: View = field(repr=False)

    @cached_property
    def table(self) -> Table:
        """The figure's data."""
        return self._figure.table(self._view)

    @cached_property
    def findings(self) -> list[str]:
        """Sentences on what the data shows."""
        return self._figure.findings(self._view)

    def draw(self, stem: Path) -> list[Path]:
        """Draw the data.

        Args:
            stem: path of the files without their suffix.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        return self._figure.drawing.draw(self.table, f"{self.name}: {self.study.published.title}", stem)


def reproduce(
    lab: Lab, paper: Paper, interpretation: Interpretation, further: Assignments = NOTHING
) -> list[Reproduced]:
    """Run the experiments of a paper's figures in an interpretation; cells that several figures share are run once.

    Args:
        lab: runs the cells.
        paper: the figures.
        interpretation: alternatives of the paper's choices.
        further: assignments to machines' fields beside those of the interpretation.
    """
    outcomes = lab.outcomes(interpretation, paper.cells, further)
    bench = Bench(paper.choices, interpretation, further)
    return [
        _reproduced(name, figure, View(paper.studies[name], outcomes, bench))
        for name, figure in paper.figures.items()
    ]


def _reproduced(name: str, figure: Figure, view: View) -> Reproduced:
    found = figure.values(view)
    assumed = "; ".join(view.study.published.assumed)
    explained = {claim: _explained(found[claim], assumed) for claim in view.study.published.claims}
    values = {claim: np.nan if each.value is None else each.value for claim, each in explained.items()}
    rows = [
        view.study.row(claim, each.value, each.shown, cause_holds=each.cause_holds)
        for claim, each in explained.items()
    ]
    return Reproduced(name, view.study, values, rows, figure, view)


def _explained(value: Value, assumed: str) -> Explained:
    """Return a value with its reason; None where the experiment did not fit the machine's memory."""
    if isinstance(value, Explained):
        return value
    return Explained(None if np.isnan(value) else float(value), assumed)


def scores(reproduced: Sequence[Reproduced]) -> dict[str, float]:
    """Return the scores of a reproduction that has all scored figures: on stated numbers, and with those read off figures."""
    studies = {each.name: each.study for each in reproduced}
    found = {(each.name, claim): value for each in reproduced for claim, value in each.values.items()}
    counted = {
        "stated": numbers(studies),
        "stated_and_read_off": numbers(studies, read_off=True),
    }
    return {name: float(score(published, found)) for name, published in counted.items() if published}


def orders_kept(reproduced: Sequence[Reproduced]) -> dict[str, bool]:
    """Return, for each figure whose orders count, whether it keeps all of them."""
    return {
        each.name: all(
            bool(order_holds(claim, each.values[name])) for name, claim in each.study.published.claims.items()
        )
        for each in reproduced
        if each.study.published.ordered
    }
