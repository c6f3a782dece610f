"""The time of AttAcc's released schedule, row by row, without issuing its commands.

Equal, cycle for cycle, to what :mod:`papisim.devices.pim.scheduler` finds by issuing them one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

from papisim.devices.pim.mapping.attacc_released.schedule import Section, move_cycles
from papisim.devices.pim.mapping.phases import Geometry
from papisim.devices.pim.scheduler import Rules
from papisim.devices.pim.timing import Timing


def time_sections(timing: Timing, rules: Rules, geometry: Geometry, plan: Iterable[Section]) -> tuple[int, int]:
    """Return the cycles of a plan of AttAcc's generator, and the refreshes in them, row by row."""
    clock = _RowByRow(timing, rules, geometry)
    for section in plan:
        clock.add(section)
    return clock.through, clock.refreshes


class _RowByRow:
    """Follows the sections of the released generator one row at a time.

    A row's MACs run ``gap`` apart; a refresh can come between them only if that leaves room to close the row (tRTP), in
    which case columns are followed one at a time.
    """

    def __init__(self, timing: Timing, rules: Rules, geometry: Geometry) -> None:
        self._timing, self._rules, self._geometry, self._gap = timing, rules, geometry, geometry.paced_gap
        self._stretch = geometry.columns_per_row if self._gap < timing.rtp else 1
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
