"""What a figure of a paper consists of, and the papers that there are.

A paper is a package of :mod:`papisim.paper` with a file ``published.yaml``. Each entry of that file is a figure, an equation or
a system of the paper, and has a module of the same name in the package whose ``FIGURE`` says which runs it needs, what they
make of each claim, and its data. What the paper leaves open is in ``choices.yaml`` beside it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from papisim.errors import InputError, NotModelled, did_you_mean
from papisim.paper.choices import Choices, load_choices
from papisim.paper.claims import Study, Value, load_studies
from papisim.paper.experiment import Cell
from papisim.paper.outcomes import Outcomes
from papisim.paper.runner import Bench
from papisim.results.schema import Figures

_HOME = Path(__file__).parent
_PUBLISHED = "published.yaml"

#: rows of a figure's data
Table = list[Figures]

WorkT = TypeVar("WorkT")


class Drawing(Protocol):
    """Draws a figure's data."""

    def draw(self, rows: Table, title: str, stem: Path) -> list[Path]:
        """Write the drawing to files with a common path ``stem``, and return them."""


class Explained(NamedTuple):
    """A simulated value, None where it cannot be tested, with the reason that its row gives.

    Attributes:
        value: the simulated value.
        reason: what the value rests on, and why it misses the claim.
        bound: what no choice of the facts that are not published reaches, where the claim is missed.
        cause_holds: whether the cause that the publication gives for the value is seen in the simulation.
    """

    value: float | None
    reason: str
    bound: str = ""
    cause_holds: bool = True

    @property
    def shown(self) -> str:
        """The reason and the bound."""
        return f"{self.reason}. Bound: {self.bound}" if self.bound else self.reason


@dataclass(frozen=True)
class View:
    """What a figure works with in one interpretation.

    Attributes:
        study: the figure's published entry.
        outcomes: the runs of its cells.
        bench: the devices of its machines.
    """

    study: Study
    outcomes: Outcomes
    bench: Bench
    _done: dict[Callable[[Study], object], object] = field(default_factory=dict, repr=False, compare=False)

    def setting(self, name: str) -> Any:
        """Return a setting of the figure's entry."""
        return self.study.setting(name)

    def once(self, work: Callable[[Study], WorkT]) -> WorkT:
        """Return the result of work on the entry that the figure's values and table share; it is done once."""
        if work not in self._done:
            self._done[work] = work(self.study)
        return cast("WorkT", self._done[work])


def _no_cells(study: Study) -> list[Cell]:
    del study
    return []


def _no_findings(view: View) -> list[str]:
    del view
    return []


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure, equation or system of a paper.

    Attributes:
        values: the simulated value of each claim, by its name: a float or :class:`Explained`. For a paper with open choices it
            also works on arrays over interpretations.
        table: the figure's data in one interpretation.
        drawing: how the data is drawn.
        cells: experiments that the figure needs; figures share the runs of cells that they have in common.
        findings: sentences on what the data shows.
    """

    values: Callable[[View], Mapping[str, Value]]
    table: Callable[[View], Table]
    drawing: Drawing
    cells: Callable[[Study], list[Cell]] = _no_cells
    findings: Callable[[View], list[str]] = _no_findings


@dataclass(frozen=True)
class Paper:
    """A paper, or the systems of a subject.

    Attributes:
        name: name of its package.
        title: name in print.
        figures: in the order of ``published.yaml``.
        studies: published entries by the figures' names.
        choices: what the paper leaves open.
    """

    name: str
    title: str
    figures: Mapping[str, Figure]
    studies: Mapping[str, Study]
    choices: Choices

    def only(self, names: Iterable[str]) -> Paper:
        """Return the paper with some of its figures."""
        chosen = {name: figure for name, figure in self.figures.items() if name in set(names)}
        return replace(self, figures=chosen, studies={name: self.studies[name] for name in chosen})

    @property
    def cells(self) -> list[Cell]:
        """The cells of all figures, each once."""
        return list(
            dict.fromkeys(cell for name, figure in self.figures.items() for cell in figure.cells(self.studies[name]))
        )


def papers() -> list[str]:
    """Return the names of the papers."""
    return sorted(file.parent.name for file in _HOME.glob(f"*/{_PUBLISHED}"))


def load_paper(name: str) -> Paper:
    """Read a paper's entries and choices, and import its figures.

    Raises:
        InputError, InputErrors: everything that is wrong in its files; an entry without a module.
    """
    title, studies = load_studies(_HOME / name / _PUBLISHED)
    figures = {figure: _load_figure(name, figure) for figure in studies}
    return Paper(name, title, figures, studies, load_choices(_HOME / name / "choices.yaml"))


def _load_figure(paper: str, name: str) -> Figure:
    module = f"papisim.paper.{paper}.{name}"
    if importlib.util.find_spec(module) is None:
        raise InputError(f"entry '{name}' has no module {module}", file=str(_HOME / paper / _PUBLISHED))
    figure: Figure = importlib.import_module(module).FIGURE
    return figure


def choose(wanted: Sequence[str], default: str) -> Paper:
    """Return the paper whose name or figures are wanted, with these figures; all of the default paper if none is named.

    Raises:
        NotModelled: there is no paper or figure of a name, or the figures are those of several papers.
    """
    known = {paper: load_paper(paper) for paper in papers()}
    homes = {_home(name, known) for name in wanted} or {default}
    if len(homes) > 1:
        raise NotModelled(f"found figures of {' and '.join(sorted(homes))}, expected those of one paper")
    paper = known[homes.pop()]
    return paper.only(wanted) if wanted and paper.name not in wanted else paper


def _home(name: str, known: Mapping[str, Paper]) -> str:
    for paper in known.values():
        if name == paper.name or name in paper.figures:
            return paper.name
    every = [figure for paper in known.values() for figure in paper.figures]
    raise NotModelled(f"'{name}' is not reproduced; {did_you_mean(name, [*known, *every, 'interpretations'])}")
