"""What phases add up to: seconds, operations and joules by device or link and by category."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from papisim.arrays import Floats
from papisim.devices.base import AttentionRun
from papisim.ops.cost import Energy
from papisim.plan.phase import Category, Phase
from papisim.policies.placement.base import Operator

#: where time and energy are spent: a device or link, and the category of its phases
WhereSpent = tuple[str, Category]
#: an operator, and the device that runs it
Placed = tuple[Operator, str]
#: why time is priced outside the range of a fit: device, category, and the limit that is passed
WhyOutside = tuple[str, Category, str]

#: columns of a row; the joules by part follow one another from the last
_TIME, _FLOP, _ENERGY = 0, 1, 2


class Sums:
    """Sums over phases, by device or link and by category.

    Attributes:
        rows: seconds, FLOP, and joules by part in the order of :data:`papisim.ops.cost.ENERGY_PARTS`, by device or link
            and category.
        operator_s: seconds of the kernels of each operator, by device.
        outside_s: seconds priced outside the range of a fit, by device, category and reason.
    """

    __slots__ = ("operator_s", "outside_s", "rows")

    def __init__(self, phases: Iterable[Phase] = ()) -> None:
        self.rows: dict[WhereSpent, Floats] = {}
        self.operator_s: dict[Placed, float] = {}
        self.outside_s: dict[WhyOutside, float] = {}
        for phase in phases:
            self.add(phase)

    def add(self, phase: Phase, times: int = 1) -> None:
        """Add one phase, repetitions included, ``times`` times."""
        key = (phase.resource, phase.category)
        row = np.array((phase.time_s, phase.flop, *phase.energy))
        row *= phase.repeats * times
        known = self.rows.get(key)
        if known is None:
            self.rows[key] = row
        else:
            known += row
        if phase.operator is not None:
            self._add_operator(phase.operator, phase, phase.time_s * times)
        for work in phase.work:
            if work.outside is not None:
                self._add_outside_of(phase, times)
                break

    def _add_operator(self, operator: Operator, phase: Phase, time_s: float) -> None:
        """Add seconds of each repetition of a phase to its operator."""
        placed = (operator, phase.resource)
        self.operator_s[placed] = self.operator_s.get(placed, 0.0) + time_s * phase.repeats

    def _add_outside_of(self, phase: Phase, times: int) -> None:
        """Add the seconds of a phase that are priced outside a fit; a phase may be longer than its works by a factor."""
        works_s = sum([work.time_s * work.times for work in phase.work])
        scale = phase.total_s * times / works_s if works_s else 0.0
        for work in phase.work:
            if work.outside is not None:
                self._add_outside((phase.resource, phase.category, work.outside), work.time_s * work.times * scale)

    def _add_outside(self, why: WhyOutside, time_s: float) -> None:
        self.outside_s[why] = self.outside_s.get(why, 0.0) + time_s

    def add_run(self, phase: Phase, run: AttentionRun) -> None:
        """Add the kernels of a run to the device and category of a phase, once per repetition of the phase."""
        self.add_cost(phase, float(run.time_s.sum()), run.energy_j.sum(axis=1))
        for start, stop, reason in run.outside:
            time_s = float(run.time_s[start:stop].sum())
            self._add_outside((phase.resource, phase.category, reason), time_s * phase.repeats)

    def add_cost(self, phase: Phase, time_s: float, energy_j: Floats) -> None:
        """Add seconds, and joules by part, to the device and category of a phase, once per repetition of the phase."""
        key = (phase.resource, phase.category)
        known = self.rows.get(key)
        if known is None:
            known = self.rows[key] = np.zeros(_ENERGY + len(energy_j))
        known[_TIME] += time_s * phase.repeats
        known[_ENERGY:] += energy_j * phase.repeats
        if phase.operator is not None:
            self._add_operator(phase.operator, phase, time_s)

    def add_scaled(self, other: Sums, factor: int = 1) -> None:
        """Add other sums, multiplied by a factor."""
        for key, row in other.rows.items():
            known = self.rows.get(key)
            if known is None:
                self.rows[key] = row * factor
            else:
                known += row * factor
        for placed, time_s in other.operator_s.items():
            self.operator_s[placed] = self.operator_s.get(placed, 0.0) + time_s * factor
        for why, time_s in other.outside_s.items():
            self._add_outside(why, time_s * factor)

    @property
    def time_s(self) -> float:
        """Seconds of all phases."""
        return sum(row.item(_TIME) for row in self.rows.values())

    @property
    def energy(self) -> Energy:
        """Energy of all phases, by part."""
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
        """Energy by device or link, by part."""
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
