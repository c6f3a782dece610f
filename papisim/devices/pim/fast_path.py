"""The fast path: how long a mapping takes, without issuing its commands.

Equal, cycle for cycle, to what :mod:`papisim.devices.pim.scheduler` finds by issuing them one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from papisim.devices.either import larger
from papisim.devices.pim.mapping.attacc_released import Section, move_cycles
from papisim.devices.pim.mapping.phases import NO_SWEEP, Geometry, Phase, Program, Run
from papisim.devices.pim.scheduler import Rules
from papisim.devices.pim.timing import Timing, Whole, refreshes, sweep_cycles


class Timed(NamedTuple):
    """A program on a channel, from idle and right after a refresh.

    Attributes:
        cycles: until it is through, refreshes aside.
        refreshes: how many fall due meanwhile.
        slowest: the phase that takes most cycles in all.
    """

    cycles: int
    refreshes: int
    slowest: Phase | None


def time_program(timing: Timing, program: Program) -> Timed:
    """Return how long a program of phases takes: of each, the slower of banks and moves."""
    clock = _Clock(timing)
    clock.run(program)
    return Timed(clock.now, refreshes(timing, clock.last_activate), clock.slowest)


def time_programs(timing: Timing, program: Program) -> tuple[Whole, Whole]:
    """Return what :func:`time_program` does of a program whose numbers are arrays: cycles, and the last activation.

    Every sweep has columns. A run's repetitions take the same, so one is timed from idle and the others shift it.
    """
    return _time_arrays(timing, program, {id(NO_SWEEP): (0, 0)})


def _time_arrays(timing: Timing, program: Program, swept: dict[int, tuple[Whole, Whole]]) -> tuple[Whole, Whole]:
    now, last_activate = 0, -1
    for item in program:
        if isinstance(item, Run):
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
        self._swept, self._banks, self._activate = NO_SWEEP, 0, 0
        self.now, self.last_activate = 0, -1
        self.slowest: Phase | None = None
        self._slowest_cycles = -1

    def run(self, program: Program, weight: int = 1) -> None:
        """Add a program; ``weight`` is how often it counts when the slowest phase is looked for."""
        for item in program:
            if isinstance(item, Run):
                self._repeat(item, weight)
                continue
            sweep, (out, operands, softmax, back, turnaround) = item
            if sweep is not self._swept:
                self._swept = sweep
                self._banks, self._activate = sweep_cycles(self._timing, sweep)
            path = (out + operands + back) * self._burst + softmax + turnaround
            if self._banks:
                self.last_activate = self.now + self._activate
            cycles = max(self._banks, path)
            self.now += cycles
            if cycles * weight > self._slowest_cycles:
                self._slowest_cycles, self.slowest = cycles * weight, item

    def _repeat(self, run: Run, weight: int) -> None:
        """Add one repetition and shift by the others: phases begin with all banks closed, so all take the same."""
        if not run.times:
            return
        start, activated = self.now, self.last_activate
        self.run(run.items, weight * run.times)
        others = (run.times - 1) * (self.now - start)
        self.now += others
        if self.last_activate != activated:
            self.last_activate += others


def time_sections(
    timing: Timing, rules: Rules, geometry: Geometry, plan: Iterable[Section], gap: int
) -> tuple[int, int]:
    """Return the cycles of a plan of AttAcc's generator, and the refreshes in them, row by row."""
    clock = _RowByRow(timing, rules, geometry, gap)
    for section in plan:
        clock.add(section)
    return clock.through, clock.refreshes


class _RowByRow:
    """Follows the sections of the released generator one row at a time.

    A row's MACs run ``gap`` apart; a refresh can come between them only if that leaves room to close the row (tRTP), in
    which case columns are followed one at a time.
    """

    def __init__(self, timing: Timing, rules: Rules, geometry: Geometry, gap: int) -> None:
        self._timing, self._rules, self._geometry, self._gap = timing, rules, geometry, gap
        self._stretch = geometry.columns_per_row if gap < timing.rtp else 1
        self._due = timing.refi
        never = -(timing.refi + timing.rfc)
        self._activate = self._mac = self._precharge = self._refresh = never
        self._mac_free = self._path_free = self._gate = self.through = rules.first_cycle
        self._open_row = -1
        self.refreshes = 0

    def add(self, section: Section) -> None:
        """Add what stands between two barriers."""
        self._gate = self.through
        for op, times in section.before:
            self._move(move_cycles(op, self._geometry), times)
        seen = self._macs(section.first_column, section.columns)
        for op, times in section.behind:
            self._path_free = max(self._path_free, seen) if times else self._path_free
            self._move(move_cycles(op, self._geometry), times)

    def _move(self, cycles: int, times: int) -> None:
        if times:
            start = max(self._gate, self._path_free)
            self._path_free = start + times * cycles
            self.through = max(self.through, self._path_free - cycles + 1)

    def _macs(self, first: int, columns: int) -> int:
        """Add MACs; return when the controller sees what stands behind them."""
        column, end, per_row = first, first + columns, self._geometry.columns_per_row
        watched, seen = end - (self._rules.depth or columns + 1), self._gate
        while column < end:
            row = column // per_row
            if row != self._open_row:
                self._turn(row)
            stretch = min(end, (row + 1) * per_row, column + self._stretch) - column
            start = self._first_mac()
            if column <= watched < column + stretch:
                seen = start + (watched - column) * self._gap + 1
            self._mac = start + (stretch - 1) * self._gap
            self._mac_free = self._mac + self._gap
            self.through = max(self.through, self._mac + 1)
            column += stretch
        return seen

    def _turn(self, row: int) -> None:
        """Close the open row, unless a refresh does, and open another."""
        if self._open_row >= 0:
            closable = max(self._mac + self._timing.rtp, self._activate + self._timing.ras)
            if self._due <= closable:
                self._serve_refresh(closable + 1)
            else:
                self._precharge = closable
        self._open(row)

    def _open(self, row: int) -> None:
        """Activate a row as early as can be; refreshes that are due by then go first."""
        timing = self._timing
        while True:
            ready = max(
                self._rules.first_cycle,
                self._precharge + timing.rp,
                self._activate + timing.rc,
                self._refresh + timing.rfc,
            )
            if self._due > ready:
                break
            self._serve_refresh(self._due)
        self._activate, self._open_row = ready, row

    def _first_mac(self) -> int:
        """Return when the next MAC is issued; a refresh comes first if the wait for it leaves room to close the row."""
        timing = self._timing
        while True:
            ready = max(self._gate, self._mac_free, self._activate + timing.rcd)
            closable = max(self._due, self._activate + timing.ras, self._mac + timing.rtp)
            if self._due > ready or closable > ready:
                return ready
            self._serve_refresh(closable + 1)
            self._open(self._open_row)

    def _serve_refresh(self, cycle: int) -> None:
        self._refresh = cycle
        self._due += self._timing.refi
        self.refreshes += 1
