"""The literal command stream of one channel, spelt out from the phases of a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple, TextIO

from papisim.devices.pim.mapping.phases import ChannelPhase, Moves, Program, Repeat
from papisim.devices.pim.timing import Sweep, Timing


class Op(StrEnum):
    """The commands of a channel; each acts on all banks of the channel at once.

    Where several commands are needed for all banks, ``ACTIVATE``, ``MAC`` and ``PRECHARGE`` reach the first of them, and their
    ``_MORE`` the others. ``READ`` and ``READ_BESIDE`` are reads of the host: in its turn, and beside MACs from a row buffer of its own.
    """

    ACTIVATE = "ACTAB"
    ACTIVATE_MORE = "ACTMR"
    MAC = "MACAB"
    MAC_MORE = "MACMR"
    PRECHARGE = "PREAB"
    PRECHARGE_MORE = "PREMR"
    REFRESH = "REFAB"
    WRITE_OPERANDS = "WRGB"
    MOVE_RESULTS = "MVSB"
    MOVE_SCORES = "MVGB"
    SOFTMAX = "SFM"
    READ = "RD"
    READ_BESIDE = "RDB"


#: commands of the banks; the others use the data path and the logic die
BANK_OPS = frozenset({
    Op.ACTIVATE, Op.ACTIVATE_MORE, Op.MAC, Op.MAC_MORE, Op.PRECHARGE, Op.PRECHARGE_MORE, Op.READ, Op.REFRESH
})  # fmt: skip
#: commands that open or close a row
ROW_OPS = frozenset({Op.ACTIVATE, Op.ACTIVATE_MORE, Op.PRECHARGE, Op.PRECHARGE_MORE})


class Command(NamedTuple):
    """One command.

    Attributes:
        op: kind of command.
        section: number of barriers before the command.
        busy: cycles for which the command occupies its resource (the FPUs, or the data path and logic die).
        row: row that the command opens, reads or closes, counted in the order of storage.
    """

    op: Op
    section: int
    busy: int = 1
    row: int = -1


class Issued(NamedTuple):
    """A command and the cycle it was issued in."""

    cycle: int
    command: Command


class Spacing(NamedTuple):
    """Cycles that commands occupy their resource: MACs, operands on their way in, and other moves."""

    mac: int
    operands: int
    moves: int

    def of(self, op: Op) -> int:
        """Return the cycles of one command; softmax, which has no duration in other simulators, is a move like others."""
        return {Op.MAC: self.mac, Op.WRITE_OPERANDS: self.operands}.get(op, self.moves)


def phases_of(program: Program) -> Iterator[ChannelPhase]:
    """Yield a program's phases one by one, runs unrolled."""
    for item in program:
        if isinstance(item, Repeat):
            for _ in range(item.times):
                yield from phases_of(item.items)
        else:
            yield item


def stream(program: Program, timing: Timing) -> Iterator[Command]:
    """Yield every command of a program, phase by phase with a barrier after each."""
    row = 0
    for section, phase in enumerate(phases_of(program)):
        yield from _sweep(phase.sweep, section, row)
        yield from _moves(phase.moves, section, timing.burst)
        row += int(phase.sweep.rows)


def _sweep(sweep: Sweep, section: int, first_row: int) -> Iterator[Command]:
    """Yield the row-by-row commands of a sweep; each row is closed behind it."""
    left, (activates, macs, precharges) = int(sweep.columns), sweep.counts
    column = Op.READ if sweep.host else Op.MAC
    for row in range(first_row, first_row + int(sweep.rows)):
        yield Command(Op.ACTIVATE, section, 1, row)
        yield from [Command(Op.ACTIVATE_MORE, section, 1, row)] * (activates - 1)
        for _ in range(min(left, sweep.per_row)):
            yield Command(column, section, sweep.gap, row)
            yield from [Command(Op.MAC_MORE, section, sweep.gap, row)] * (macs - 1)
        yield Command(Op.PRECHARGE, section, 1, row)
        yield from [Command(Op.PRECHARGE_MORE, section, 1, row)] * (precharges - 1)
        left -= sweep.per_row


def _moves(moves: Moves, section: int, burst: int) -> Iterator[Command]:
    """Yield moves in order; the last holds a shared bus while it turns."""
    commands = [
        *(Command(Op.MOVE_RESULTS, section, burst) for _ in range(moves.results_out)),
        *(Command(Op.WRITE_OPERANDS, section, burst) for _ in range(moves.operands_in)),
        *(Command(Op.SOFTMAX, section, int(moves.softmax)) for _ in range(1 if moves.softmax else 0)),
        *(Command(Op.MOVE_SCORES, section, burst) for _ in range(moves.scores_in)),
        *(Command(Op.READ_BESIDE, section, burst) for _ in range(moves.reads)),
    ]
    if commands:
        commands[-1] = commands[-1]._replace(busy=commands[-1].busy + int(moves.turnaround))
    yield from commands


def export(issued: Iterable[Issued], file: TextIO) -> int:
    """Write one line per command: cycle, name, section (number of barriers before) and row; return the number of lines.

    The names are those of AttAcc's command set, so the file reads like a trace of its simulator with times.
    """
    count = 0
    file.write("# cycle command section row\n")
    for cycle, command in issued:
        file.write(f"{cycle} {command.op} {command.section} {command.row if command.row >= 0 else '-'}\n")
        count += 1
    return count
