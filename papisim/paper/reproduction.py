"""A paper's figures in one reading: what is simulated, and how it stands to what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from papisim.paper.cell import Cell
from papisim.paper.figure import Figure, Table, View
from papisim.paper.lab import NOTHING, Bench, Lab
from papisim.paper.readings import Reading
from papisim.paper.score import numbers, orders_kept, score
from papisim.paper.study import Study
from papisim.paper.verdict import Row


@dataclass(frozen=True)
class Reproduced:
    """A figure in one reading.

    Attributes:
        name: of the figure.
        study: what is published.
        values: what is simulated for each claim.
        rows: both, with verdicts.
        table: the figure's data.
    """

    name: str
    study: Study
    values: dict[str, float]
    rows: list[Row]
    table: Table


def reproduce(
    lab: Lab,
    reading: Reading,
    figures: Mapping[str, Figure],
    studies: Mapping[str, Study],
    further: Mapping[str, tuple[str, ...]] = NOTHING,
) -> list[Reproduced]:
    """Run the experiments of figures in a reading; cells that several share are run once.

    Args:
        lab: where they are run.
        reading: how the paper is read.
        figures: by name.
        studies: what is published, by the same names.
        further: assignments to machines' fields beside those of the reading.
    """
    cells = all_cells(figures, studies)
    outcomes, bench = lab.outcomes(reading, cells, further), Bench(lab.readings, reading, further)
    return [_reproduced(name, figure, View(studies[name], outcomes, bench)) for name, figure in figures.items()]


def _reproduced(name: str, figure: Figure, view: View) -> Reproduced:
    values = {claim: float(value) for claim, value in figure.values(view).items()}
    because = "; ".join(view.study.published.assumed)
    rows = [view.study.row(claim, _known(values[claim]), because) for claim in view.study.published.claims]
    return Reproduced(name, view.study, values, rows, figure.table(view))


def _known(value: float) -> float | None:
    """Return a value, or None where the experiment did not fit the machine's memory."""
    return None if value != value else value  # noqa: PLR0124 - only nan differs from itself


def distances(reproduced: Sequence[Reproduced]) -> dict[str, float]:
    """Return the scores of a reproduction that has all figures which count: on stated numbers, and on read-off ones too."""
    studies = {each.name: each.study for each in reproduced}
    found = {(each.name, claim): value for each in reproduced for claim, value in each.values.items()}
    return {
        name: float(score(numbers(studies, read_off=read_off), found))
        for name, read_off in (("stated", False), ("stated_and_read_off", True))
        if numbers(studies, read_off=read_off)
    }


def orders(reproduced: Sequence[Reproduced]) -> dict[str, bool]:
    """Tell for each figure whose orders count whether all are kept."""
    studies = {each.name: each.study for each in reproduced}
    return orders_kept(studies, {each.name: each.values for each in reproduced})


def all_cells(figures: Mapping[str, Figure], studies: Mapping[str, Study]) -> list[Cell]:
    """Return the cells of all figures, each once."""
    return list(dict.fromkeys(cell for name, figure in figures.items() for cell in figure.cells(studies[name])))
