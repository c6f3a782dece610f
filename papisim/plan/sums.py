"""What phases add up to: seconds, operations and joules by device or link and by category."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from papisim.arrays import Floats
from papisim.ops.cost import Energy
from papisim.plan.phase import Category, Phase

#: where time is spent: a device or link, and the category of its phases
Key = tuple[str, Category]

#: what stands in a row before the joules by part
_TIME, _FLOP, _ENERGY = 0, 1, 2


class Sums:
    """Sums over phases, by device or link and by category.

    Attributes:
        rows: for each key seconds, FLOP, and joules by part in the order of :data:`papisim.ops.cost.ENERGY_PARTS`.
    """

    __slots__ = ("rows",)

    def __init__(self, phases: Iterable[Phase] = ()) -> None:
        self.rows: dict[Key, Floats] = {}
        for phase in phases:
            self.add(phase)

    def add(self, phase: Phase, times: int = 1) -> None:
        """Add one phase, with its repetitions, so many times."""
        key = (phase.resource, phase.category)
        row = np.array((phase.time_s, phase.flop, *phase.energy))
        row *= phase.repeats * times
        known = self.rows.get(key)
        if known is None:
            self.rows[key] = row
        else:
            known += row

    def add_cost(self, phase: Phase, time_s: float, energy_j: Floats) -> None:
        """Add seconds, and joules by part, that were spent where a phase is; once for each of its repetitions."""
        key = (phase.resource, phase.category)
        known = self.rows.get(key)
        if known is None:
            known = self.rows[key] = np.zeros(_ENERGY + len(energy_j))
        known[_TIME] += time_s * phase.repeats
        known[_ENERGY:] += energy_j * phase.repeats

    def add_times(self, other: Sums, times: int = 1) -> None:
        """Add other sums so many times."""
        for key, row in other.rows.items():
            known = self.rows.get(key)
            if known is None:
                self.rows[key] = row * times
            else:
                known += row * times

    @property
    def time_s(self) -> float:
        """Seconds of all."""
        return sum(row.item(_TIME) for row in self.rows.values())

    @property
    def energy(self) -> Energy:
        """Joules of all, by part."""
        return _energy(self.rows.values())

    @property
    def time_by(self) -> dict[Category, float]:
        """Seconds by category."""
        times: dict[Category, float] = {}
        for (_, category), row in self.rows.items():
            times[category] = times.get(category, 0.0) + row.item(_TIME)
        return times

    @property
    def busy_by(self) -> dict[str, float]:
        """Seconds by device or link."""
        times: dict[str, float] = {}
        for (resource, _), row in self.rows.items():
            times[resource] = times.get(resource, 0.0) + row.item(_TIME)
        return times

    @property
    def energy_by(self) -> dict[str, Energy]:
        """Joules by device or link, by part."""
        rows: dict[str, list[Floats]] = {}
        for (resource, _), row in self.rows.items():
            rows.setdefault(resource, []).append(row)
        return {resource: _energy(own) for resource, own in rows.items()}

    @property
    def fc_flop_by(self) -> dict[str, float]:
        """FLOP of FC kernels by device."""
        return {
            resource: row.item(_FLOP) for (resource, category), row in self.rows.items() if category is Category.FC
        }


def _energy(rows: Iterable[Floats]) -> Energy:
    total = sum(row[_ENERGY:] for row in rows)
    return Energy() if isinstance(total, int) else Energy(*total.tolist())
