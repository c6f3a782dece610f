"""A channel of GDDR6-AiM: commands as early as the table of rules allows, one at a time."""

from __future__ import annotations

from collections import Counter
from copy import copy

from papisim.devices.aim.commands import REGISTER_MODE, Command, Place, Table
from papisim.devices.aim.instructions import Instruction, Op, Row

#: the last command of each instruction
FINAL = {
    Op.WRITE_BUFFER: Command.WRGB,
    Op.WRITE_BIAS: Command.WRMAC16,
    Op.MAC: Command.MAC16,
    Op.READ_MAC: Command.RDMAC16,
    Op.FUNCTION: Command.AF16,
    Op.READ_FUNCTION: Command.RDAF16,
    Op.MULTIPLY: Command.EWMUL16,
    Op.COPY_TO_BUFFER: Command.RDCP,
    Op.COPY_FROM_BUFFER: Command.WRCP,
    Op.WRITE_ALL: Command.WRA16,
    Op.STORE: Command.WR,
    Op.LOAD: Command.RD,
}
#: instructions that need their row open in all banks
_ALL_BANKS = frozenset({Op.MAC, Op.FUNCTION, Op.MULTIPLY, Op.WRITE_ALL})


class Channel:
    """One channel, in whole cycles.

    Args:
        table: the rules.
        banks: banks of the channel.
        channels: channels that work alike.

    Attributes:
        last: cycle of the last command.
        through: cycle from which all commands so far are answered, data included.
        counts: commands issued in all channels.
    """

    def __init__(self, table: Table, banks: int, channels: int) -> None:
        self._table, self._channels, self._reached = table, channels, channels
        self._ready: dict[Place, int] = {}
        self._rows: list[Row | None] = [None] * banks
        self._registers = False
        self.last = self.through = -1
        self.counts: Counter[Command] = Counter()

    def issue(self, instruction: Instruction, cycle: int) -> None:
        """Issue the commands of an instruction that arrives in a cycle, after all earlier ones."""
        op, row = instruction.op, instruction.row
        self._reached = instruction.lanes if op is Op.WRITE_ALL else self._channels
        command, cycle = FINAL[op], max(cycle, self.last + 1)
        bank = instruction.banks[0] if instruction.banks else None
        if op in _ALL_BANKS and row is not None:
            cycle = self._open_all(row, cycle)
        elif bank is not None and row is not None:
            cycle = self._open(bank, row, cycle)
        first = self._put(command, cycle, bank)
        self.last = first + (instruction.columns - 1) * self._table.column_gap
        self._note(command, self.last, bank, instruction.columns - 1)
        if op is Op.WRITE_ALL:
            self._rows = [None] * len(self._rows)
        self._answer(command)

    def access(self, instruction: Instruction, cycle: int, period: int) -> None:
        """Serve accesses that arrive one a cycle for each bank, and again each period, the first in ``cycle``."""
        command, row, again = FINAL[instruction.op], instruction.row, instruction.columns - 1
        assert row is not None, "accesses have a row"
        self._reached = instruction.lanes
        banks, burst, opened = instruction.banks, self._table.burst, cycle
        open_from = [opened := self._open(bank, row, max(cycle + i, opened)) for i, bank in enumerate(banks)]
        firsts = [self._put(command, opened, bank) for bank, opened in zip(banks, open_from, strict=True)]
        arrived = cycle + again * period + (len(banks) - 1) * burst
        behind = [first + min(again, (first - cycle) // period) * burst for first in firsts]
        queued = firsts[0] + (instruction.columns * len(banks) - 1) * burst if period <= len(banks) * burst else 0
        self.last = max(arrived, queued, *behind)
        for bank in instruction.banks:
            self._note(command, self.last, bank, again)
        self._answer(command)

    def state(self, cycle: int, rows: int) -> tuple[object, ...]:
        """Return all that decides how the channel goes on, with times as of a cycle and rows as of a row; no command comes earlier."""
        self._ready = {place: ready for place, ready in self._ready.items() if ready > cycle}
        later = {place: ready - cycle for place, ready in self._ready.items()}
        return later, self._moved(-rows), self._registers, max(-1, self.last - cycle), max(-1, self.through - cycle)

    def copied(self) -> Channel:
        """Return another channel in the same state."""
        other = copy(self)
        other._ready, other._rows, other.counts = dict(self._ready), list(self._rows), Counter(self.counts)
        return other

    def skip(self, cycles: int, rows: int, counts: Counter[Command]) -> None:
        """Move on in time and in rows, as repetitions would that issue ``counts`` commands."""
        self._ready = {place: ready + cycles for place, ready in self._ready.items()}
        self._rows = self._moved(rows)
        self.last, self.through = self.last + cycles, self.through + cycles
        self.counts.update(counts)

    def _moved(self, rows: int) -> list[Row | None]:
        """Return the open rows, each that many rows on."""
        moved = {row: row and row.after(rows) for row in set(self._rows)}
        return [moved[row] for row in self._rows]

    def _open_all(self, row: Row, cycle: int) -> int:
        """Open a row in all banks; return the first cycle after it."""
        if any(each not in (None, row) for each in self._rows):
            cycle = self._put(Command.PREA, cycle) + 1
            self._rows = [None] * len(self._rows)
        if None in self._rows:
            cycle = self._put(Command.ACT16, cycle) + 1
            self._rows = [row] * len(self._rows)
        return cycle

    def _open(self, bank: int, row: Row, cycle: int) -> int:
        """Open a row in one bank; return the first cycle after it."""
        if self._rows[bank] not in (None, row):
            cycle = self._put(Command.PRE, cycle, bank) + 1
            self._rows[bank] = None
        if self._rows[bank] is None:
            cycle = self._put(Command.ACT, cycle, bank) + 1
            self._rows[bank] = row
        return cycle

    def _put(self, command: Command, cycle: int, bank: int | None = None) -> int:
        """Issue a command as early as the rules allow, the mode switched before it; return its cycle."""
        cycle = self._earliest(command, cycle, bank)
        if (command in REGISTER_MODE) != self._registers:
            self._registers = not self._registers
            self._note(Command.TMOD, cycle)
            cycle = self._earliest(command, cycle + 1, bank)
        self._note(command, cycle, bank)
        return cycle

    def _earliest(self, command: Command, cycle: int, bank: int | None) -> int:
        ready = self._ready
        for place in self._table.waits(command, bank):
            cycle = max(cycle, ready.get(place, 0))
        return cycle

    def _note(self, command: Command, cycle: int, bank: int | None = None, times: int = 1) -> None:
        """Count a command and hold back those that it delays; of ``times`` commands, the last is in ``cycle``."""
        self.counts[command] += times * self._reached
        ready = self._ready
        for place, cycles in self._table.held(command, bank):
            if ready.get(place, 0) < cycle + cycles:
                ready[place] = cycle + cycles

    def _answer(self, command: Command) -> None:
        """Note when the last command is answered."""
        self.through = max(self.through, self.last + self._table.latency.get(command, 1))
