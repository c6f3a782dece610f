"""How a PIM stack is built: banks, units, buffers and the logic die. Values only; nothing here is a time.

A channel is the lock-step unit: its all-bank commands reach every bank of both pseudo-channels and of all ranks
at once (AttAcc, Section 5). Inside a channel, a (pseudo-channel, rank, bank group) triple is a *way*: ways split the
outputs of a matrix-vector product among them, and the banks of one way split its inputs.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from papisim.config.base import Count, Positive, Spec
from papisim.devices.pim.level import Level

if TYPE_CHECKING:
    from papisim.devices.pim.timing import Timing


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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for whole, part in (("row_bytes", "column_bytes"), ("bank_bytes", "row_bytes")):
            size, unit = getattr(self, whole), getattr(self, part)
            if size % unit:
                raise ValueError(f"found {whole} {size:g}, expected a multiple of {part} = {unit:g}")
        return self

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
    """The floating-point units: ``fpus`` of them for every ``per_banks`` banks (4P1B, 1P1B, 1P2B …).

    Attributes:
        at: level that the units sit at. Beside banks, units serve banks of one bank group; at a higher level, ``per_banks`` is
            the number of banks behind the port that columns arrive through.
        fpus: units that share ``per_banks`` banks.
        per_banks: banks that share ``fpus`` units.
        lanes: products that a unit works on at once; of a number as wide as the unit's own format, unless ``lanes_by_bits`` says more.
        bits: width of a unit's own format.
        clock_hz: of a unit.
        cycles_per_column: a unit's cycles for one column and one token-row.
        paced_by_gap: every use of an open column is a command of its own and waits for the column gap of an unshared
            column, power limit included; otherwise the units reuse a column at their own pace.
        widens_bits: widths of packed numbers that a unit widens to its own format on the way from the bank, without
            taking longer; a column of them holds more than ``lanes`` numbers, and takes a turn for each ``lanes`` of them.
        lanes_by_bits: lanes of a unit for packed numbers that it multiplies as they are, by their width.
        path_share: share of the data path's energy that a column takes to units beyond its bank group.
    """

    at: Level = Level.BANK
    fpus: Count
    per_banks: Count
    lanes: Count
    clock_hz: Positive
    cycles_per_column: Count
    paced_by_gap: bool = False
    bits: Count = 16
    widens_bits: list[Count] = Field(default_factory=list)
    lanes_by_bits: dict[Count, Count] = Field(default_factory=dict)
    path_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    ports: Count = 1

    @property
    def banks_in_turn(self) -> int:
        """Banks that are served one after the other, one per column command: they share a unit, or the port to the units."""
        return ceil(self.per_banks / self.fpus) if self.at is Level.BANK else self.per_banks

    def gap(self, organisation: Organisation, timing: Timing) -> int:
        """Return the least cycles between columns through a port."""
        return self.at.gap(organisation, timing, self.ports)

    @property
    def column_s(self) -> float:
        """Time one unit takes for one column and one token-row."""
        return self.cycles_per_column / self.clock_hz

    @property
    def name(self) -> str:
        """The paper's shorthand, such as ``4P1B``."""
        return f"{self.fpus}P{self.per_banks}B"

    def turns(self, uses: int) -> float:
        """Return the number of rounds in which units serve ``uses`` of a column: ``ceil(uses / p)`` for p units per bank.

        Units behind a port of several banks work on columns that follow one another, so the mean column takes ``uses / p``.
        """
        if self.at is not Level.BANK:
            return uses / self.fpus
        return ceil(uses * self.per_banks / self.fpus) if self.fpus > self.per_banks else uses

    @property
    def on_dram_per_bank(self) -> float:
        """Units on the DRAM dies for each bank; those of the base die take none of their area."""
        return 0.0 if self.at is Level.BASE_DIE else self.fpus / self.per_banks

    def lanes_of(self, bits: int) -> int:
        """Return the numbers of a width that a unit works on at once."""
        return self.lanes_by_bits.get(bits, self.lanes)

    def takes(self, bits: int) -> bool:
        """Return whether the units take packed numbers of a width."""
        return bits in self.widens_bits or bits in self.lanes_by_bits

    def check(self, organisation: Organisation) -> None:
        """Refuse units that the banks of an organisation cannot feed.

        Raises:
            ValueError: with the field and what it may be.
        """
        groups = self.at.groups(organisation)
        if groups % self.ports:
            raise ValueError(
                f"found fpu.ports {self.ports}, expected a divisor of {groups}: the bank groups that share one port with fpu.at {self.at}"
            )
        behind = self.at.banks(organisation) // self.ports
        most = organisation.banks_per_group
        if self.at is Level.BANK and most % self.per_banks:
            raise ValueError(
                f"found fpu.per_banks {self.per_banks} with fpu.at bank, expected a divisor of organisation.banks_per_group = {most}: "
                "units beside banks serve banks of one bank group; units behind the data path are 'at: pseudo_channel' or "
                "'at: base_die'"
            )
        if self.at is not Level.BANK and self.per_banks != behind:
            raise ValueError(
                f"found fpu.per_banks {self.per_banks}, expected {behind}: the banks behind one port of a unit with fpu.at {self.at}"
            )
        for field, bits, lanes in (
            ("lanes", self.bits, self.lanes),
            *(("lanes_by_bits", *own) for own in self.lanes_by_bits.items()),
        ):
            held = int(8 * organisation.column_bytes // bits)
            if held % lanes and lanes % held:
                raise ValueError(
                    f"found fpu.{field} {lanes}, expected a divisor or a multiple of the {held} numbers of {bits} bits in a column"
                )


class Buffers(Spec):
    """SRAM beside each bank, or at each port of units at a higher level.

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
