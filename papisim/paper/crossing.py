"""Every reading of a paper at once: the cross product of its open choices.

A run's parts add up, and a choice changes only some of them. So a part is simulated once for each combination of the choices
that touch it, not of all choices; the runs are chosen so that few give all parts of all readings. A reading's run is then put
together from parts, and equals the run that simulating it gives (:mod:`tests.unit.paper.test_crossing`).

Figures are computed on arrays with one axis a choice, of length one where a value does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np

from papisim.arrays import Floats
from papisim.errors import InputError, did_you_mean
from papisim.paper.cell import PARTS, PHASES, Cell
from papisim.paper.figure import Figure, View
from papisim.paper.lab import Bench, Lab
from papisim.paper.outcomes import Outcomes, Run, Value
from papisim.paper.readings import Part, Readings
from papisim.paper.study import Study

#: parts of PAPI's runs that depend on where α puts FC, beside those that a choice touches itself
_FOLLOW_PLACEMENT = ("all_reduce", "device_energy", "link_energy")

#: (figure, claim)
Key = tuple[str, str]


@dataclass(frozen=True)
class Axes:
    """The choices that are crossed, each with the alternatives taken.

    Attributes:
        readings: the paper's choices.
        taken: alternatives by choice; choices that are left out stay physical.
    """

    readings: Readings
    taken: Mapping[str, tuple[str, ...]]

    @property
    def simulated(self) -> list[str]:
        """Choices that change runs; they are the axes of arrays."""
        return [name for name in self.taken if not self.readings.choices[name].decides_counting]

    @property
    def counted(self) -> list[str]:
        """Choices that change how runs are counted."""
        return [name for name in self.taken if self.readings.choices[name].decides_counting]

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(len(self.taken[name]) for name in self.simulated)

    @property
    def n_readings(self) -> int:
        """How many readings there are."""
        return int(np.prod([len(alternatives) for alternatives in self.taken.values()]))

    def combinations(self, names: Iterable[str]) -> Iterator[dict[str, str]]:
        """Yield all combinations of some choices."""
        names = list(names)
        for combination in product(*(self.taken[name] for name in names)):
            yield dict(zip(names, combination, strict=True))

    def relevant(self, system: str, part: Part) -> list[str]:
        """Return the choices about machines that a part of a machine's runs depends on."""
        found = set(self.readings.touching(system, part))
        if system == "papi" and part in _FOLLOW_PLACEMENT:
            found |= set(self.readings.touching(system, "fc"))
        return [name for name in self.simulated if name in found]

    @property
    def of_runs(self) -> list[str]:
        """Choices about requests, which every part depends on."""
        return [name for name in self.simulated if self.readings.choices[name].decides_runs]

    def index(self, reading: Mapping[str, str], names: Sequence[str]) -> tuple[int, ...]:
        """Return where a reading stands in an array that depends on some choices alone."""
        return tuple(self.taken[name].index(reading[name]) if name in names else 0 for name in self.simulated)


def axes_of(readings: Readings, only: Iterable[str] = ()) -> Axes:
    """Return the axes of all choices, or of some.

    Raises:
        InputError: there is no choice of a name.
    """
    names = list(only) or list(readings.choices)
    for name in names:
        if name not in readings.choices:
            raise InputError(f"no choice '{name}'; {did_you_mean(name, readings.choices)}")
    return Axes(
        readings, {name: tuple(readings.choices[name].alternatives) for name in readings.choices if name in names}
    )


def cover(axes: Axes, system: str) -> list[dict[str, str]]:
    """Return readings of a machine whose runs have every part in every combination of the choices that touch it.

    Greedy: always the reading that has most of what is still missing.
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
    """Run cells in all readings, and return each as a run of arrays."""
    cells = list(cells)
    covers = {system: cover(axes, system) for system in {cell.system for cell in cells}}
    variants = list(axes.combinations(axes.of_runs))
    readings = {cell: [mine | variant for mine in covers[cell.system] for variant in variants] for cell in cells}
    jobs = {cell: [lab.job(reading, cell) for reading in readings[cell]] for cell in cells}
    lab.run(job for several in jobs.values() for job in several)
    return {
        cell: _arrays(axes, cell.system, [
            (reading, Run.of(lab.record(job))) for reading, job in zip(readings[cell], jobs[cell], strict=True)
        ])
        for cell in cells
    }  # fmt: skip


def _arrays(axes: Axes, system: str, runs: Sequence[tuple[dict[str, str], Run]]) -> Run:
    """Return the parts of several runs as arrays over the choices that they depend on."""

    def array(part: Part | None, rows: int) -> tuple[Floats, list[str]]:
        names = axes.of_runs + (axes.relevant(system, part) if part is not None else [])
        shape = [len(axes.taken[name]) if name in names else 1 for name in axes.simulated]
        return np.full((rows, *shape), np.nan), names

    parts: dict[Part, Floats] = {}
    for part in PARTS:
        parts[part], names = array(part, len(PHASES))
        for reading, run in runs:
            place = axes.index(_filled(axes, reading), names)
            for phase, value in enumerate(run.parts[part]):
                parts[part][(phase, *place)] = value
    iterations, names = array(None, 1)
    for reading, run in runs:
        iterations[(0, *axes.index(_filled(axes, reading), names))] = run.iterations
    static_w = next((run.static_w for _, run in runs if np.isfinite(run.static_w)), np.nan)
    return Run(parts, static_w, iterations[0], np.nan)


def _filled(axes: Axes, reading: dict[str, str]) -> dict[str, str]:
    return {name: alternatives[0] for name, alternatives in axes.taken.items()} | reading


@dataclass(frozen=True)
class Counted:
    """All values in one way of counting.

    Attributes:
        counting: the alternatives that say how is counted.
        values: by figure and claim, each an array that broadcasts to the axes' shape.
    """

    counting: dict[str, str]
    values: dict[Key, Value]


def evaluate(
    axes: Axes, runs: Mapping[Cell, Run], figures: Mapping[str, Figure], studies: Mapping[str, Study]
) -> Iterator[Counted]:
    """Compute figures in all readings, one way of counting after the other."""
    bench = Bench(axes.readings, {})
    for counting in axes.combinations(axes.counted):
        outcomes = Outcomes(runs, axes.readings.protocol(counting))
        values = {
            (name, claim): value
            for name, figure in figures.items()
            for claim, value in figure.values(View(studies[name], outcomes, bench)).items()
        }
        yield Counted(counting, values)
