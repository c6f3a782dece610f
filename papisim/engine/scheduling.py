"""What placing the operators costs a server: a decision before each decoding iteration, switches, and moves of caches.

A switch is charged to the iteration whose operators are the first on other devices, once, whatever the number of operators: what is in
flight drains, and the iteration is captured again. That iteration is a step of its own, so that a stretch of equal iterations begins
after it.
"""

from __future__ import annotations

from collections.abc import Iterable

from papisim.config.system import Scheduler
from papisim.engine.moving import Mover
from papisim.ops.cost import Energy
from papisim.plan.holding import Holding
from papisim.plan.homes import Homes
from papisim.plan.layout import StepLayout
from papisim.plan.machine import HOST
from papisim.plan.phase import Category, Phase
from papisim.plan.planner import Planner
from papisim.plan.sums import Placed
from papisim.record.ledger import Ledger


class Scheduling:
    """The scheduler of one server.

    Args:
        spec: what it costs.
        ledger: counts decisions and switches.
        planner: plans the steps of the server.
        mover: moves caches; None where they stay.
    """

    def __init__(self, spec: Scheduler, ledger: Ledger, planner: Planner, mover: Mover | None = None) -> None:
        self._spec, self._ledger, self._planner, self._mover = spec, ledger, planner, mover
        self._on = HOST if spec.runs_on == "host" else spec.runs_on
        self._last: frozenset[Placed] | None = None

    def move(self, tlp: int) -> None:
        """Move caches before the next iteration, if they may move and that pays.

        Args:
            tlp: tokens in flight of each request in that iteration.
        """
        if self._mover is not None:
            self._mover.move(tlp)

    def until_move(self, tlp: int, n: int) -> int:
        """Return the number of the first of ``n`` iterations after which caches might move."""
        return n if self._mover is None else self._mover.until_move(tlp, n)

    @property
    def charges_switches(self) -> bool:
        """Whether a switch takes time."""
        return self._spec.switch_s > 0

    def switches(self, layout: StepLayout, phases: Iterable[Phase]) -> bool:
        """Tell whether a decoding iteration has operators on other devices than the one before it."""
        return self._last not in (None, placed_in(layout, phases))

    @property
    def decision(self) -> list[Phase]:
        """The phase of the decision before a decoding iteration; none if it takes no time."""
        return [self._phase(self._spec.decision_s)] if self._spec.decision_s else []

    def ran(self, n: int) -> None:
        """Count the decisions of ``n`` decoding iterations that ran."""
        if self._spec.decision_s:
            overheads = self._ledger.overheads_now
            overheads.n_decisions += n
            overheads.decision_s += n * self._spec.decision_s

    def switch(self, layout: StepLayout, phases: Iterable[Phase]) -> list[Phase]:
        """Return the phase of a switch before a decoding iteration, if there is one, and note where its operators are."""
        if not self.charges_switches:
            return []
        if isinstance(self._planner, (Holding, Homes)):
            self._planner.settle()
        is_switch, self._last = self.switches(layout, phases), placed_in(layout, phases)
        if not is_switch:
            return []
        overheads = self._ledger.overheads_now
        overheads.n_switches += 1
        overheads.switch_s += self._spec.switch_s
        return [self._phase(self._spec.switch_s)]

    def _phase(self, time_s: float) -> Phase:
        return Phase(self._on, Category.OTHER, time_s, Energy())


def placed_in(layout: StepLayout, phases: Iterable[Phase]) -> frozenset[Placed]:
    """Return the operators of a step with the devices that have kernels of each."""
    shared = (placed for part in layout.parts for placed in part.sums.operator_s)
    own = ((phase.operator, phase.resource) for phase in phases if phase.operator is not None)
    return frozenset((*shared, *own))
