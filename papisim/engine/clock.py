"""The passing of a step's time: truncated by arrivals, delayed by stalls, ended by losses."""

from __future__ import annotations

import numpy as np
import simpy

from papisim.arrays import Floats
from papisim.engine.faults import Loss, Stall
from papisim.engine.process import Timed
from papisim.record.segment import Elapsed, PlannedStep


class StepClock:
    """Lets the time of a server's steps pass.

    Args:
        env: the simulation's clock.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._may_be_truncated = False
        self._running: PlannedStep | None = None
        self._stalls: dict[str, float] = {}

    @property
    def now_s(self) -> float:
        """The time."""
        now_s: float = self._env.now
        return now_s

    def truncate(self, process: simpy.Process) -> None:
        """End a stretch of iterations at the end of the one that is running.

        Args:
            process: the process in which the step runs.
        """
        if self._may_be_truncated:
            self._may_be_truncated = False
            process.interrupt()

    def stall(self, stall: Stall, process: simpy.Process) -> None:
        """Let a device stand still: the step that uses it, or the next one that does, takes longer.

        Args:
            stall: the device and the end of the stall.
            process: the process in which steps run.
        """
        self._stalls[stall.resource] = max(stall.until_s, self._stalls.get(stall.resource, 0.0))
        if self._running is not None and self._running.uses(stall.resource):
            process.interrupt(stall)

    def run(self, plan: PlannedStep, *, may_be_truncated: bool = False) -> Timed[Elapsed]:
        """Let the time of planned steps pass, and return the steps that ran.

        Raises:
            simpy.Interrupt: a device is lost.
        """
        self._may_be_truncated, self._running = may_be_truncated, plan
        elapsed = yield from self._pass(plan.times_s, self._stalled_until_s(plan))
        self._may_be_truncated, self._running = False, None
        return elapsed

    def _pass(self, times_s: Floats, stalled_until_s: float) -> Timed[Elapsed]:
        ends_s, start_s = np.cumsum(times_s), self._env.now
        stalled_s = max(0.0, stalled_until_s - start_s)
        n = 1 if stalled_s else len(times_s)
        while True:
            rest_s = float(ends_s[n - 1]) + stalled_s - (self._env.now - start_s)
            try:
                if rest_s > 0:
                    yield self._env.timeout(rest_s)
                return Elapsed.of(times_s, n, stalled_s)
            except simpy.Interrupt as interrupt:
                if isinstance(interrupt.cause, Loss):
                    raise
                if not stalled_s:  # else the current step is the last already
                    n = min(n, int(np.searchsorted(ends_s, self._env.now - start_s)) + 1)
                if isinstance(interrupt.cause, Stall):
                    stalled_s += max(0.0, interrupt.cause.until_s - max(stalled_until_s, self._env.now))
                    stalled_until_s = max(stalled_until_s, interrupt.cause.until_s)

    def _stalled_until_s(self, plan: PlannedStep) -> float:
        """Return the end of the last stall of the devices that a step uses."""
        return max((until_s for resource, until_s in self._stalls.items() if plan.uses(resource)), default=0.0)
