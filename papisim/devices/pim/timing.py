"""DRAM timing in whole cycles, and the closed forms that follow from it.

Every number counts tCK. The rules that the forms state are those of the constraint table of
:mod:`papisim.devices.pim.commands`; the literal scheduler there is the oracle they are tested against.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, NamedTuple, Self

from pydantic import Field, model_validator

from papisim.config.base import Count, Positive, Spec, parse
from papisim.config.sources import load_sound
from papisim.devices.numbers import Whole, choose, larger, smaller

#: schema of the files of timing tables, ``hwconfigs/devices/dram``
SCHEMA: Final = "papisim/dram/1"
#: name of a table that is written in a part and not in a file of its own
IN_PART: Final = "in the part"
#: activate commands that may fall into a window of tFAW
ACTIVATES_PER_WINDOW: Final = 4
Natural = Annotated[int, Field(ge=0)]


class Timing(Spec):
    """The timing table of a memory: a standard at a data rate, in ``hwconfigs/devices/dram``, or written in a part.

    Attributes:
        name: name of the table's file; of a table that a part writes itself, ``in the part``.
        description: standard, data rate and origin.
        tck_s: the clock period that everything else counts.
        rcd: activate to the units' column command (tRCD of a read, or that of a MAC where it has its own).
        rcd_wr: activate to write (tRCDWR); None: as rcd.
        rp: precharge to activate (tRP).
        ras: activate to precharge (tRAS).
        rc: activate to activate of the same bank (tRC).
        rtp: column read to precharge (tRTP).
        wr: end of a write to precharge (tWR).
        cwl: write command to data (tCWL).
        burst: cycles that the data of one column occupies the data path of a pseudo-channel.
        turnaround: from writing to reading over a shared column bus and back; only stacks whose moves share it have one.
        column_gap: all-bank MAC to all-bank MAC, power aside.
        refi: refresh interval (tREFI).
        rfc: cycles of one all-bank refresh (tRFC).
        rfc_pb: cycles of one per-bank refresh (tRFCpb); None if there is none.
        rrd: activate to activate of another bank group (tRRD_S); None if unknown.
        faw: window in which four activate commands may fall (tFAW); None if unknown.
        act_cycles: cycles that an activate command occupies the row command bus.
        pre_cycles: cycles that a precharge command occupies it.
        column_cycles: cycles that a column command occupies the column command bus.
    """

    name: str = IN_PART
    description: str = ""
    tck_s: Positive
    rcd: Count
    rp: Count
    ras: Count
    rc: Count
    rtp: Count
    wr: Count
    cwl: Count
    burst: Count
    turnaround: Natural = 0
    column_gap: Count
    refi: Count
    rfc: Count
    rcd_wr: Count | None = None
    rfc_pb: Count | None = None
    rrd: Count | None = None
    faw: Count | None = None
    act_cycles: Count = 1
    pre_cycles: Count = 1
    column_cycles: Count = 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rc > self.ras + self.rp:
            raise ValueError(
                f"found rc {self.rc}, expected at most ras + rp = {self.ras + self.rp}: tRC is their sum"
            )
        if self.rfc >= self.refi:
            raise ValueError(
                f"found rfc {self.rfc}, expected less than refi {self.refi}: no time would be left for work"
            )
        return self

    @property
    def spacing(self) -> int:
        """Cycles between activate commands: tRRD, or what the command bus takes."""
        return max(self.rrd or 0, self.act_cycles)

    def span(self, activates: int) -> int:
        """Return the cycles from the first to the last of the activate commands that open a row in all banks.

        Command i follows the one before by tRRD and the fourth before by tFAW.
        """
        windows, rest = divmod(activates - 1, ACTIVATES_PER_WINDOW)
        return windows * max(self.faw or 0, ACTIVATES_PER_WINDOW * self.spacing) + rest * self.spacing

    def spans(self, counts: CommandCounts) -> tuple[int, int, int]:
        """Return the cycles from the first to the last command that opens a row, takes a column and closes the row."""
        span = self.span(counts.activates) if counts.activates > 1 else 0
        return span, (counts.macs - 1) * self.column_cycles, (counts.precharges - 1) * self.pre_cycles

    def refreshed_by_bank(self, banks: int) -> Self:
        """Return the table of lock-step banks that are refreshed one at a time: all wait for each of ``banks`` of them.

        Raises:
            ValueError: the memory has no per-bank refresh, or it leaves no time for work.
        """
        if self.rfc_pb is None:
            raise ValueError("found refresh_mode per_bank, expected all_bank: timing has no rfc_pb")
        refi = self.refi // banks
        if self.rfc_pb >= refi:
            raise ValueError(
                f"found refresh_mode per_bank with timing.rfc_pb {self.rfc_pb}, expected less than refi / {banks} banks = {refi}: "
                "banks in lock step all wait for each refresh, and no time would be left for work"
            )
        return self.model_copy(update={"refi": refi, "rfc": self.rfc_pb})


def load_timing(path: Path | str) -> Timing:
    """Read the file of a timing table.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    document, _ = load_sound(Path(path), SCHEMA)
    return parse(Timing, document)


class CommandCounts(NamedTuple):
    """Commands that all banks take together: to open a row, to work on a column, and to close the row."""

    activates: int = 1
    macs: int = 1
    precharges: int = 1


class Sweep(NamedTuple):
    """Work of the banks in one phase: ``columns`` columns of each, ``per_row`` to an open row, ``gap`` cycles apart.

    ``columns`` may be an array, for one phase at many sizes; the cycles are then an array, too. A sweep of the ``host`` reads columns
    of banks in turn, for itself.
    """

    columns: Whole
    per_row: int
    gap: int
    counts: CommandCounts = CommandCounts()
    host: bool = False

    @property
    def rows(self) -> Whole:
        """Rows opened; the last may be partly used."""
        return -(-self.columns // self.per_row)


ONE_COMMAND_EACH = CommandCounts()


def sweep_cycles(timing: Timing, sweep: Sweep) -> tuple[Whole, Whole]:
    """Return when a sweep that starts at cycle 0 has drained, and when its last row is activated.

    Let row r be activated at a(r) and have its first MAC at x(r). Then ``a(r+1) = max(x(r) + (c−1)·gap + tRTP,
    a(r) + tRAS) + tRP`` and ``x(r+1) = max(x(r) + c·gap, a(r+1) + tRCD)``: a max-plus recurrence whose every cycle is one
    of the three steps below, so n rows take n − 1 of the longest. Drained means precharged, with the FPUs idle. Where several
    commands open a row, take a column or close the row, what follows counts from the last of them: tRCD and tRAS are longer by the
    span of the activates, tRTP by that of the MACs, tRP by that of the precharges.
    """
    if isinstance(sweep.columns, int) and not sweep.columns:
        return 0, 0
    rows, c, gap = sweep.rows, smaller(sweep.columns, sweep.per_row), sweep.gap
    last = sweep.columns - (rows - 1) * c
    rcd, ras, rtp, rp, macs = timing.rcd, timing.ras, timing.rtp, timing.rp, 0
    if sweep.counts != ONE_COMMAND_EACH:
        span, macs, precharges = timing.spans(sweep.counts)
        rcd, ras, rtp, rp = rcd + span, ras + span, rtp + macs, rp + precharges
    read_bound = rcd + (c - 1) * gap + rtp + rp
    step = larger(read_bound, larger(c * gap, ras + rp))
    first_mac = rcd + (rows - 1) * step
    activate = choose(rows > 1, larger((rows - 1) * (ras + rp), read_bound + (rows - 2) * step), 0)
    precharge = larger(first_mac + (last - 1) * gap + rtp, activate + ras)
    return larger(precharge + rp, first_mac + last * gap + macs), activate


def refreshes(timing: Timing, last_activate: Whole) -> Whole:
    """Return the number of refreshes in a stream, given the cycle of its last activation without refreshes.

    A refresh that is due is served before the next activation, when all banks are closed, and stops the channel for
    tRFC. The j-th is served at undisturbed time w when ``w + (j−1)·tRFC ≥ j·tREFI``; w only grows, so the
    count depends on the last activation alone.
    """
    due = (last_activate - timing.rfc) // (timing.refi - timing.rfc)
    return choose(last_activate < timing.refi, 0, due)


def sustained(timing: Timing, cycles: Whole) -> Whole:
    """Return the cycles of a stream that is one of many in a row, with refresh at its average rate."""
    return -(-cycles * timing.refi // (timing.refi - timing.rfc))
