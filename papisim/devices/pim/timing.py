"""DRAM timing in whole cycles, and the closed forms that follow from it.

Every number counts tCK. The rules that the forms state are those of the constraint table of
:mod:`papisim.devices.pim.commands`; the literal scheduler there is the oracle they are tested against.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from papisim.config.base import Count, Positive, Spec
from papisim.devices.numbers import Whole, choose, larger, smaller

Natural = Annotated[int, Field(ge=0)]


class Timing(Spec):
    """The timing table of one stack.

    Attributes:
        tck_s: the clock period that everything else counts.
        rcd: activate to column command (tRCD).
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
    """

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


class Sweep(NamedTuple):
    """Work of the banks in one phase: ``columns`` MAC commands, ``per_row`` to an open row, ``gap`` cycles apart.

    ``columns`` may be an array, for one phase at many sizes; the cycles are then an array, too.
    """

    columns: Whole
    per_row: int
    gap: int

    @property
    def rows(self) -> Whole:
        """Rows opened; the last may be partly used."""
        return -(-self.columns // self.per_row)


def sweep_cycles(timing: Timing, sweep: Sweep) -> tuple[Whole, Whole]:
    """Return when a sweep that starts at cycle 0 has drained, and when its last row is activated.

    Let row r be activated at a(r) and have its first MAC at x(r). Then ``a(r+1) = max(x(r) + (c−1)·gap + tRTP,
    a(r) + tRAS) + tRP`` and ``x(r+1) = max(x(r) + c·gap, a(r+1) + tRCD)``: a max-plus recurrence whose every cycle is one
    of the three steps below, so n rows take n − 1 of the longest. Drained means precharged, with the FPUs idle.
    """
    if isinstance(sweep.columns, int) and not sweep.columns:
        return 0, 0
    rows, c, gap = sweep.rows, smaller(sweep.columns, sweep.per_row), sweep.gap
    last = sweep.columns - (rows - 1) * c
    read_bound = timing.rcd + (c - 1) * gap + timing.rtp + timing.rp
    step = larger(read_bound, larger(c * gap, timing.ras + timing.rp))
    first_mac = timing.rcd + (rows - 1) * step
    activate = choose(rows > 1, larger((rows - 1) * (timing.ras + timing.rp), read_bound + (rows - 2) * step), 0)
    precharge = larger(first_mac + (last - 1) * gap + timing.rtp, activate + timing.ras)
    return larger(precharge + timing.rp, first_mac + last * gap), activate


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
