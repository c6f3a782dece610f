"""Hysteresis of placement: operators stay where they are until moving them pays.

A switch costs the same whatever the number of operators that move (:class:`papisim.config.system.Scheduler`), so there are two
placements to choose from before each decoding iteration: the one that the policy asks for, and the one of the iteration before. Operators
move where what they save in the iteration, times the horizon, exceeds the cost of the switch. Operators of a draft model follow their
policy, as its steps are planned by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from papisim.arrays import Floats
from papisim.devices.base import AttentionRun
from papisim.ops.kernel import Linear
from papisim.ops.lower import KvLengths, StepShape
from papisim.plan.layout import AttentionSlot, StepLayout
from papisim.plan.phase import Phase, seconds
from papisim.plan.planner import Planner
from papisim.plan.step import Places, StepPlanner


class Cost(NamedTuple):
    """What a switch costs, and what it must save.

    Attributes:
        switch_s: seconds of a switch.
        horizon_iterations: iterations over which it must pay.
    """

    switch_s: float
    horizon_iterations: float


class Holding(Planner):
    """Plans the steps of one server, whose operators are somewhere already.

    Args:
        planner: plans steps with operators where it is told.
        cost: what a switch costs.
    """

    def __init__(self, planner: StepPlanner, cost: Cost) -> None:
        self._planner, self._cost = planner, cost
        self._standing: Places | None = None
        self._chosen: Places | None = None
        self.graphs, self.notes = planner.graphs, planner.notes

    def settle(self) -> None:
        """Note that the operators are where the last decoding iteration that was planned has them."""
        self._standing = self._chosen

    def layout(self, shape: StepShape, decode: KvLengths | None = None, *, fold: bool = True) -> StepLayout:
        """Return all of a step but its attention; arguments as of :meth:`Planner.layout`."""
        if decode is None:
            return self._planner.layout(shape, fold=fold)
        self._chosen = self._choose(shape, decode)
        return self._planner.layout(shape, decode, fold=fold, places=self._chosen)

    def placed_alike(self, shape: StepShape, lengths: KvLengths, n: int) -> int:
        """Return the number of the first of ``n`` decoding iterations whose operators are where those of the first are."""
        first, done = self._choose(shape, lengths), 0
        while done < n:
            grown = lengths.after(done)
            wanted, alike = self._planner.places(shape, grown), self._planner.placed_alike(shape, grown, n - done)
            if wanted != first:
                saved_s = self._times_s(shape, grown, first, alike) - self._times_s(shape, grown, wanted, alike)
                pays = np.flatnonzero(saved_s * self._cost.horizon_iterations > self._cost.switch_s)
                if len(pays):
                    return max(1, done + int(pays[0]))
            done += alike
        return n

    def attention(self, slot: AttentionSlot, decode: KvLengths | None, prompts: KvLengths | None) -> Iterator[Phase]:
        """Yield the phases of a layout's attention slot; arguments as of :meth:`Planner.attention`."""
        return self._planner.attention(slot, decode, prompts)

    def growing(self, layout: StepLayout, lengths: KvLengths, n: int) -> list[tuple[Phase, AttentionRun]]:
        """Return the attention of ``n`` decoding iterations; arguments as of :meth:`Planner.growing`."""
        return self._planner.growing(layout, lengths, n)

    def place(self, kernel: Linear, rlp: int, rows: int) -> str:
        """Return the device on which the policy places an FC kernel of a decoding step."""
        return self._planner.place(kernel, rlp, rows)

    def _choose(self, shape: StepShape, decode: KvLengths) -> Places:
        wanted, standing = self._planner.places(shape, decode), self._standing
        if standing is None or standing == wanted:
            return wanted
        saved_s = self._time_s(shape, decode, standing) - self._time_s(shape, decode, wanted)
        return wanted if saved_s * self._cost.horizon_iterations > self._cost.switch_s else standing

    def _time_s(self, shape: StepShape, decode: KvLengths, places: Places) -> float:
        layout = self._planner.layout(shape, decode, places=places)
        return layout.time_s + seconds(
            phase for slot in layout.slots for phase in self._planner.attention(slot, decode, None)
        )

    def _times_s(self, shape: StepShape, decode: KvLengths, places: Places, n: int) -> Floats:
        return self._planner.times_s(self._planner.layout(shape, decode, places=places), decode, n)
