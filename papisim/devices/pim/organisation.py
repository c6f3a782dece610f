"""How a PIM stack is built: banks, units, buffers and the logic die. Values only; nothing here is a time.

A channel is the lock-step unit: its all-bank commands reach every bank of both pseudo-channels and of all ranks
at once (AttAcc, Section 5). Inside a channel, a (pseudo-channel, rank, bank group) triple is a *way*: ways split the
outputs of a matrix-vector product among them, and the banks of one way split its inputs.
"""

from __future__ import annotations

from math import ceil

from pydantic import Field

from papisim.config.base import Count, Positive, Spec


class Organisation(Spec):
    """The hierarchy of one stack, from channels to columns."""

    channels: Count
    pseudo_channels: Count
    ranks: Count
    bank_groups: Count
    banks_per_group: Count
    bank_bytes: Positive
    row_bytes: Positive
    column_bytes: Positive

    @property
    def ways(self) -> int:
        """Ways of one channel: what the outputs are split over."""
        return self.pseudo_channels * self.ranks * self.bank_groups

    @property
    def banks_per_channel(self) -> int:
        """Banks that one all-bank command reaches."""
        return self.ways * self.banks_per_group

    @property
    def banks(self) -> int:
        """Banks of the stack."""
        return self.channels * self.banks_per_channel

    @property
    def columns_per_row(self) -> int:
        """Column accesses that one open row of one bank yields."""
        return int(self.row_bytes // self.column_bytes)

    @property
    def capacity_bytes(self) -> float:
        """Memory of the stack."""
        return self.banks * self.bank_bytes


class Fpu(Spec):
    """The floating-point units beside the banks: ``fpus`` of them for every ``per_banks`` banks (4P1B, 1P1B, 1P2B …).

    Attributes:
        fpus: units that share ``per_banks`` banks.
        per_banks: banks that share ``fpus`` units.
        lanes: products that a unit works on at once.
        clock_hz: of a unit.
        cycles_per_column: a unit's cycles for one column and one token-row.
        paced_by_gap: every use of an open column is a command of its own and waits for the column gap of an unshared
            column, power limit included; otherwise the units reuse a column at their own pace.
        widens_bits: widths of packed numbers that a unit widens to its own format on the way from the bank, without
            taking longer; a column of them holds more than ``lanes`` numbers, and takes a turn for each ``lanes`` of them.
    """

    fpus: Count
    per_banks: Count
    lanes: Count
    clock_hz: Positive
    cycles_per_column: Count
    paced_by_gap: bool = False
    widens_bits: list[Count] = Field(default_factory=list)

    @property
    def banks_in_turn(self) -> int:
        """Banks that share a unit and are served one after the other, one per column command."""
        return ceil(self.per_banks / self.fpus)

    @property
    def column_s(self) -> float:
        """Time one unit takes for one column and one token-row."""
        return self.cycles_per_column / self.clock_hz

    @property
    def name(self) -> str:
        """The paper's shorthand, such as ``4P1B``."""
        return f"{self.fpus}P{self.per_banks}B"

    def turns(self, rows: int) -> int:
        """Return the number of rounds in which the units of a bank serve ``rows`` token-rows: ``ceil(rows / p)`` for p units per bank."""
        return ceil(rows * self.per_banks / self.fpus) if self.fpus > self.per_banks else rows


class Buffers(Spec):
    """SRAM beside each bank.

    ``operand_bytes`` holds input vectors (AttAcc's GEMV buffer) and is used in two halves, one in use and one being
    filled. ``result_bytes`` holds one column-wide vector of partial sums for each token-row (and each slice of the head).
    """

    operand_bytes: Positive
    result_bytes: Positive


class Logic(Spec):
    """The vector unit of the logic (buffer) die: softmax, and what else streams through a stack."""

    bandwidth_bytes_per_s: Positive
    rate_flop_per_s: Positive


class Power(Spec):
    """What the cube may draw for work, beside its static power."""

    budget_w: Positive
