"""All interpretations of a paper at once: the cross product of its choices.

The parts of a run add up, and a choice changes only some of them. A part is therefore simulated once for each combination of
the choices that touch it, not of all choices, in few runs that together have all parts of all interpretations. The run of an
interpretation is assembled from parts, and equals the run that simulating the interpretation gives
(:mod:`tests.unit.paper.test_all_choices`).

Figures are computed on arrays with one axis per choice, of length one where a value does not depend on the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np

from papisim.arrays import Floats
from papisim.errors import InputError, did_you_mean
from papisim.paper.choices import Choices, Interpretation, Part
from papisim.paper.claims import Key, Value
from papisim.paper.experiment import PARTS, PHASES, Cell
from papisim.paper.figure import Paper, View
from papisim.paper.outcomes import Outcomes, Run
from papisim.paper.runner import Bench, Lab

#: parts of PAPI's runs that depend on where α places FC, beside those that a choice touches itself
_FOLLOW_PLACEMENT = ("all_reduce", "device_energy", "link_energy")


@dataclass(frozen=True)
class Axes:
    """The choices that are crossed, each with the alternatives taken.

    Attributes:
        choices: the paper's choices.
        taken: alternatives by choice; choices that are left out stay physical.
    """

    choices: Choices
    taken: Mapping[str, tuple[str, ...]]

    @property
    def simulated(self) -> list[str]:
        """Choices that change runs; they are the axes of arrays."""
        return [name for name in self.taken if not self.choices.choices[name].decides_evaluation]

    @property
    def evaluated(self) -> list[str]:
        """Choices that change how runs are evaluated."""
        return [name for name in self.taken if self.choices.choices[name].decides_evaluation]

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(len(self.taken[name]) for name in self.simulated)

    @property
    def n_interpretations(self) -> int:
        """Number of interpretations."""
        return int(np.prod([len(alternatives) for alternatives in self.taken.values()]))

    def combinations(self, names: Iterable[str]) -> Iterator[dict[str, str]]:
        """Yield all combinations of some choices."""
        names = list(names)
        for combination in product(*(self.taken[name] for name in names)):
            yield dict(zip(names, combination, strict=True))

    def relevant(self, system: str, part: Part) -> list[str]:
        """Return the choices about machines that a part of a machine's runs depends on."""
        found = set(self.choices.touching(system, part))
        if system == "papi" and part in _FOLLOW_PLACEMENT:
            found |= set(self.choices.touching(system, "fc"))
        return [name for name in self.simulated if name in found]

    @property
    def of_runs(self) -> list[str]:
        """Choices about requests, which every part depends on."""
        return [name for name in self.simulated if self.choices.choices[name].decides_runs]

    def index(self, interpretation: Interpretation, names: Sequence[str]) -> tuple[int, ...]:
        """Return the index of an interpretation in an array that depends on some choices alone."""
        return tuple(self.taken[name].index(interpretation[name]) if name in names else 0 for name in self.simulated)


def axes_of(choices: Choices, only: Iterable[str] = ()) -> Axes:
    """Return the axes of all choices, or of some.

    Raises:
        InputError: there is no choice of a name.
    """
    known = choices.choices
    names = list(only) or list(known)
    for name in names:
        if name not in known:
            raise InputError(f"no choice '{name}'; {did_you_mean(name, known)}")
    return Axes(choices, {name: tuple(known[name].alternatives) for name in known if name in names})


def cover(axes: Axes, system: str) -> list[dict[str, str]]:
    """Return interpretations of a machine whose runs have every part in every combination of the choices that touch the part.

    Greedy: the next interpretation is the one that has most of the combinations still missing.
    """
    needs = {part: tuple(axes.relevant(system, part)) for part in get_args(Part)}
    names = [name for name in axes.simulated if any(name in need for need in needs.values())]
    candidates = list(axes.combinations(names))
    has = [{(part, tuple(each[name] for name in need)) for part, need in needs.items()} for each in candidates]
    missing, chosen = set().union(*has), []
    while missing:
        best = max(range(len(candidates)), key=lambda index: len(has[index] & missing))
        chosen.append(candidates[best])
        missing -= has[best]
    return chosen


def cross(lab: Lab, axes: Axes, cells: Iterable[Cell]) -> dict[Cell, Run]:
    """Run cells in all interpretations, and return a run of arrays for each."""
    cells = list(cells)
    covers = {system: cover(axes, system) for system in {cell.system for cell in cells}}
    variants = list(axes.combinations(axes.of_runs))
    crossed = {cell: [mine | variant for mine in covers[cell.system] for variant in variants] for cell in cells}
    jobs = {cell: [lab.job(each, cell) for each in crossed[cell]] for cell in cells}
    lab.run(job for several in jobs.values() for job in several)
    return {
        cell: _arrays(axes, cell.system, [
            (each, Run.of(lab.record(job))) for each, job in zip(crossed[cell], jobs[cell], strict=True)
        ])
        for cell in cells
    }  # fmt: skip


def _arrays(axes: Axes, system: str, runs: Sequence[tuple[dict[str, str], Run]]) -> Run:
    """Return the parts of several runs as arrays over the choices that each depends on."""

    def array(part: Part | None, rows: int) -> tuple[Floats, list[str]]:
        names = axes.of_runs + (axes.relevant(system, part) if part is not None else [])
        shape = [len(axes.taken[name]) if name in names else 1 for name in axes.simulated]
        return np.full((rows, *shape), np.nan), names

    parts: dict[Part, Floats] = {}
    for part in PARTS:
        parts[part], names = array(part, len(PHASES))
        for interpretation, run in runs:
            place = axes.index(_filled(axes, interpretation), names)
            for phase, value in enumerate(run.parts[part]):
                parts[part][(phase, *place)] = value
    iterations, names = array(None, 1)
    for interpretation, run in runs:
        iterations[(0, *axes.index(_filled(axes, interpretation), names))] = run.iterations
    static_w = next((run.static_w for _, run in runs if np.isfinite(run.static_w)), np.nan)
    return Run(parts, static_w, iterations[0], np.nan)


def _filled(axes: Axes, interpretation: dict[str, str]) -> dict[str, str]:
    return {name: alternatives[0] for name, alternatives in axes.taken.items()} | interpretation


@dataclass(frozen=True)
class Evaluated:
    """All values in one way of evaluating the runs.

    Attributes:
        evaluation: the alternatives of the choices that change how runs are evaluated.
        values: by figure and claim, each an array that broadcasts to the axes' shape.
    """

    evaluation: dict[str, str]
    values: dict[Key, Value]


def evaluate(axes: Axes, runs: Mapping[Cell, Run], paper: Paper) -> Iterator[Evaluated]:
    """Compute the figures in all interpretations, one way of evaluating the runs after the other."""
    bench = Bench(axes.choices, {})
    for evaluation in axes.combinations(axes.evaluated):
        outcomes = Outcomes(runs, axes.choices.protocol(evaluation))
        values = {
            (name, claim): value
            for name, figure in paper.figures.items()
            for claim, value in figure.values(View(paper.studies[name], outcomes, bench)).items()
        }
        yield Evaluated(evaluation, values)
