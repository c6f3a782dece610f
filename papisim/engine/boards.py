"""Boards at their power limit: what a step's work on them takes longer, and the energy that it saves.

A board's budget is that of a whole step, pauses included: kernels below the limit leave some of it to those above
(:mod:`papisim.devices.gpu.clock`). The time is a phase of its own, without kernels, on the board's device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from papisim.arrays import Floats
from papisim.devices.base import AttentionRun, DevicePool
from papisim.ops.cost import Energy
from papisim.plan.layout import StepLayout
from papisim.plan.machine import Machine
from papisim.plan.phase import Category, Phase
from papisim.plan.sums import WhereSpent


class Boards:
    """The boards of a machine whose clock their power limit sets.

    Args:
        machine: the machine.
    """

    def __init__(self, machine: Machine) -> None:
        self._pools: dict[str, DevicePool] = {
            name: pool for name, pool in machine.pools.items() if pool.is_power_limited
        }

    def phases(
        self,
        layout: StepLayout,
        phases: Iterable[Phase],
        wall_s: float,
        growing: Sequence[tuple[Phase, AttentionRun]] = (),
    ) -> list[Phase]:
        """Return the phases by which power limits lengthen a step; of several iterations, those of their mean.

        Args:
            layout: phases that the step shares with others.
            phases: its other phases.
            wall_s: seconds of the step without them.
            growing: attention of several iterations, and its costs.
        """
        return [] if not self._pools else list(self._slowed(layout, phases, wall_s, growing))

    def _slowed(
        self,
        layout: StepLayout,
        phases: Iterable[Phase],
        wall_s: float,
        growing: Sequence[tuple[Phase, AttentionRun]],
    ) -> Iterator[Phase]:
        for name, pool in self._pools.items():
            own = [row for row in chain(_rows(layout, phases), _means(growing)) if row[0][0] == name]
            if own:
                busy_s, _, *energy = sum(row for _, row in own).tolist()  # type: ignore[union-attr] # not empty
                added_s, change = pool.slowed(busy_s, Energy(*energy), idle_s=max(0.0, wall_s - busy_s))
                if added_s:
                    yield Phase(name, Category.FC, added_s, change)


def _rows(layout: StepLayout, phases: Iterable[Phase]) -> Iterator[tuple[WhereSpent, Floats]]:
    """Yield seconds, operations and joules of phases, as :class:`papisim.plan.sums.Sums` has them."""
    for part in layout.parts:
        yield from part.sums.rows.items()
    for phase in phases:
        row = np.array((phase.time_s, phase.flop, *phase.energy))
        yield (phase.resource, phase.category), row * phase.repeats


def _means(growing: Iterable[tuple[Phase, AttentionRun]]) -> Iterator[tuple[WhereSpent, Floats]]:
    for phase, run in growing:
        mean = np.array((run.time_s.mean(), 0.0, *run.energy_j.mean(axis=1)))
        yield (phase.resource, phase.category), mean * phase.repeats
