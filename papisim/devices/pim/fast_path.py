"""The fast path: the cycles of a program, without issuing its commands.

Equal, cycle for cycle, to what :mod:`papisim.devices.pim.scheduler` finds by issuing them one at a time.
"""

from __future__ import annotations

from typing import NamedTuple

from papisim.devices.numbers import Whole, larger
from papisim.devices.pim.mapping.phases import NO_SWEEP, ChannelPhase, Program, Repeat
from papisim.devices.pim.timing import Timing, refreshes, sweep_cycles


class Timed(NamedTuple):
    """A program on a channel, from idle and right after a refresh.

    Attributes:
        cycles: cycles until the program ends, refreshes aside.
        refreshes: number of refreshes that fall due meanwhile.
        slowest: the phase that takes most cycles in all.
    """

    cycles: int
    refreshes: int
    slowest: ChannelPhase | None


def time_program(timing: Timing, program: Program) -> Timed:
    """Return the cycles of a program of phases, each as long as the slower of banks and moves."""
    clock = _Clock(timing)
    clock.run(program)
    return Timed(clock.now, int(refreshes(timing, clock.last_activate)), clock.slowest)


def time_programs(timing: Timing, program: Program) -> tuple[Whole, Whole]:
    """Return the cycles and the last activation of a program whose numbers are arrays, as :func:`time_program` for each entry.

    Every sweep has columns. A run's repetitions take the same, so one is timed from idle and the others shift it.
    """
    return _time_arrays(timing, program, {id(NO_SWEEP): (0, 0)})


def _time_arrays(timing: Timing, program: Program, swept: dict[int, tuple[Whole, Whole]]) -> tuple[Whole, Whole]:
    now: Whole = 0
    last_activate: Whole = -1
    for item in program:
        if isinstance(item, Repeat):
            cycles, activated = _time_arrays(timing, item.items, swept)
            now, last_activate = now + item.times * cycles, now + (item.times - 1) * cycles + activated
            continue
        sweep, moves = item
        if id(sweep) not in swept:
            swept[id(sweep)] = sweep_cycles(timing, sweep)
        banks, activate = swept[id(sweep)]
        if sweep is not NO_SWEEP:
            last_activate = now + activate
        now = now + larger(banks, moves.cycles(timing.burst))
    return now, last_activate


class _Clock:
    """Adds up phases.

    Attributes:
        now: cycles so far, refreshes aside.
        last_activate: when the last row so far is activated.
        slowest: the phase that takes most cycles in all, repetitions included.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing, self._burst = timing, timing.burst
        # by identity: the sweeps of a program outlive the clock, and the same one comes again and again
        self._swept: dict[int, tuple[int, int]] = {id(NO_SWEEP): (0, 0)}
        self.now, self.last_activate = 0, -1
        self.slowest: ChannelPhase | None = None
        self._slowest_cycles = -1

    def run(self, program: Program, weight: int = 1) -> None:
        """Add a program; ``weight`` is the number of its repetitions, for the search of the slowest phase."""
        for item in program:
            if isinstance(item, Repeat):
                self._repeat(item, weight)
                continue
            sweep, (out, operands, softmax, back, turnaround, reads) = item
            known = self._swept.get(id(sweep))
            if known is None:
                drained, last = sweep_cycles(self._timing, sweep)
                known = self._swept[id(sweep)] = int(drained), int(last)
            banks, activate = known
            path = int((out + operands + back + reads) * self._burst + softmax + turnaround)
            if banks:
                self.last_activate = self.now + activate
            cycles = max(banks, path)
            self.now += cycles
            if cycles * weight > self._slowest_cycles:
                self._slowest_cycles, self.slowest = cycles * weight, item

    def _repeat(self, run: Repeat, weight: int) -> None:
        """Add one repetition and shift by the others: phases begin with all banks closed, so all take the same."""
        if not run.times:
            return
        start, activated = self.now, self.last_activate
        self.run(run.items, weight * run.times)
        others = (run.times - 1) * (self.now - start)
        self.now += others
        if self.last_activate != activated:
            self.last_activate += others
