"""Energy of DRAM commands and FPUs, the power that follows, and the column gap that the power budget leaves."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from papisim.config.base import NonNegative, Spec, parse
from papisim.config.sources import load_sound
from papisim.devices.pim.organisation import Fpu, Organisation, Power
from papisim.devices.pim.timing import Timing
from papisim.ops.cost import Energy

#: schema of the files of energy tables, ``hwconfigs/devices/energy``
SCHEMA: Final = "papisim/energy/1"
#: name of a table that is written in a part and not in a file of its own
IN_PART: Final = "in the part"
#: share of wires that toggle when data are random, which typical values are of
RANDOM: Final = 0.5
Share = Annotated[float, Field(ge=0, le=1)]
_FLOP_PER_MAC = 2


class Terms(Spec):
    """Energy per command, byte and operation, and the power of idle memory.

    Attributes:
        activation_j: opening and closing one row of one bank.
        column_j_per_byte: a column access, from the cells to the bank's edge.
        to_fpu_j_per_byte: from the bank's edge into the FPU's operand latch.
        data_path_j_per_byte: between a bank group and the logic die or the stack's pins.
        fpu_j_per_flop: FPU work, operand and result buffers included.
        logic_j_per_flop: work of the logic die's vector unit.
        standby_w_per_byte: power of memory that does nothing; None if the table does not say.
        refresh_w_per_byte: mean power of refreshing it, beside standby; None if standby contains it.
    """

    activation_j: NonNegative
    column_j_per_byte: NonNegative
    to_fpu_j_per_byte: NonNegative
    data_path_j_per_byte: NonNegative
    fpu_j_per_flop: NonNegative
    logic_j_per_flop: NonNegative
    standby_w_per_byte: NonNegative | None = None
    refresh_w_per_byte: NonNegative | None = None


class Toggling(Spec):
    """Energy that moving a byte takes if every wire toggles from beat to beat, beyond that of data that never changes.

    Attributes:
        column_j_per_byte: of a column access.
        data_path_j_per_byte: of the data path.
    """

    column_j_per_byte: NonNegative = 0.0
    data_path_j_per_byte: NonNegative = 0.0


class EnergyTable(Terms):
    """A table of energies: typical values, their bands, and their dependence on the data.

    The terms of the table itself are typical ones with random data, of which half the wires toggle. Bands are bounds of each term by
    itself: terms that only a sum was measured of cannot all be low or all be high at once.

    Attributes:
        name: name of the table's file; of terms that a part gives itself, ``in the part``.
        description: memory, data and method.
        band: which values to use.
        toggle_ratio: share of wires that toggle between successive beats: 0 for constant data, 0.5 for random data.
        per_toggle: dependence on it.
        low: the least that each term may be; None if unknown.
        high: the most that each term may be; None if unknown.
    """

    name: str = IN_PART
    description: str = ""
    band: Literal["low", "typical", "high"] = "typical"
    toggle_ratio: Share = RANDOM
    per_toggle: Toggling = Field(default_factory=Toggling)
    low: Terms | None = None
    high: Terms | None = None

    @model_validator(mode="after")
    def _has_its_band(self) -> Self:
        if self._bound is None:
            raise ValueError(f"found band '{self.band}', expected 'typical': the table has no such values")
        return self

    @property
    def _bound(self) -> Terms | None:
        """The terms of the band in use, for random data."""
        return {"low": self.low, "typical": self, "high": self.high}[self.band]

    @property
    def used(self) -> Terms:
        """The terms of the band in use, for the data in use."""
        band = self._bound
        assert band is not None, "the table's validator has seen to it"
        if self.toggle_ratio == RANDOM:
            return band
        beyond = self.toggle_ratio - RANDOM
        return band.model_copy(
            update={term: max(0.0, getattr(band, term) + slope * beyond) for term, slope in self.per_toggle}
        )

    @property
    def label(self) -> str:
        """The table's name, with band and data where they are not typical values of random data."""
        data = f"toggle ratio {self.toggle_ratio:g}"
        return ", ".join([
            self.name,
            *([f"{self.band} values"] if self.band != "typical" else []),
            *([data] if self.toggle_ratio != RANDOM else []),
        ])  # fmt: skip


def load_energy(path: Path | str) -> EnergyTable:
    """Read the file of an energy table, in which bands must lie around typical values.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    document, _ = load_sound(Path(path), SCHEMA)
    table = parse(EnergyTable, document)
    for term in Terms.model_fields:
        bands = [getattr(each, term) for each in (table.low, table, table.high) if each is not None]
        known = [value for value in bands if value is not None]
        if known != sorted(known):
            raise document.error(
                (term,), f"found {known[0]:g} to {known[-1]:g} around it, expected low, typical, high to rise"
            )
    return table


class Activity(NamedTuple):
    """Everything that costs energy in one kernel, counted over all stacks.

    ``columns`` and ``activations`` count banks (an all-bank command counts once for each bank it reaches);
    ``macs`` counts products of a stored number and a token-row, scales included: reuse costs FPU work and no further access, and
    lanes without a number cost nothing. ``raised_bytes`` counts those columns, in bytes, that take the data path to units beyond their
    bank group.
    """

    activations: float = 0
    columns: float = 0
    macs: float = 0
    data_path_bytes: float = 0
    raised_bytes: float = 0
    logic_flop: float = 0


def energy_of(activity: Activity, table: EnergyTable, organisation: Organisation, fpu: Fpu) -> Energy:
    """Return the energy of an activity by part."""
    terms = table.used
    column_bytes = activity.columns * organisation.column_bytes
    path_bytes = activity.data_path_bytes + activity.raised_bytes * fpu.path_share
    fpu_flop = activity.macs * _FLOP_PER_MAC
    return Energy(
        dram_activation_j=activity.activations * terms.activation_j,
        dram_access_j=column_bytes * terms.column_j_per_byte,
        dram_transfer_j=column_bytes * terms.to_fpu_j_per_byte + path_bytes * terms.data_path_j_per_byte,
        pim_compute_j=fpu_flop * terms.fpu_j_per_flop + activity.logic_flop * terms.logic_j_per_flop,
    )


def read_j_per_byte(table: EnergyTable, organisation: Organisation, columns: float) -> float:
    """Return the energy above idle of a byte read through the stack's pins, with ``columns`` columns to an activation."""
    terms = table.used
    activation = terms.activation_j / (columns * organisation.column_bytes)
    return activation + terms.column_j_per_byte + terms.data_path_j_per_byte


def column_energy(reuse: float, table: EnergyTable, organisation: Organisation, fpu: Fpu) -> Energy:
    """Return the energy of one column of one bank, used for ``reuse`` token-rows, with its share of a full row."""
    raised = organisation.column_bytes if fpu.at.beyond_groups else 0.0
    macs = reuse * 8 * organisation.column_bytes / fpu.bits
    activity = Activity(activations=1 / organisation.columns_per_row, columns=1, macs=macs, raised_bytes=raised)
    return energy_of(activity, table, organisation, fpu)


def streaming_w(reuse: float, column_s: float, table: EnergyTable, organisation: Organisation, fpu: Fpu) -> float:
    """Return the power of a stack while its open rows stream: one column of each served bank every ``column_s``."""
    served = organisation.banks / fpu.banks_in_turn
    return served * column_energy(reuse, table, organisation, fpu).total_j / column_s


def fed_w(reuse: float, table: EnergyTable, organisation: Organisation, fpu: Fpu) -> float:
    """Return the power of a stack whose FPUs never wait for data (PAPI, Figure 7c).

    Every FPU finishes a (column, token-row) product each ``fpu.column_s``, so a column must arrive ``reuse`` times less
    often than that; whether the banks can deliver so fast is not asked.
    """
    fpus = organisation.banks * fpu.fpus / fpu.per_banks
    return fpus * column_energy(reuse, table, organisation, fpu).total_j / reuse / fpu.column_s


def power_limited_gap(column_j: float, least: int, timing: Timing, power: Power) -> int:
    """Return the shortest column gap, in cycles, whose streaming power stays within the budget.

    Gaps lengthen in whole bursts, the granularity at which a column command meets the data path.

    Args:
        column_j: energy of one column of each served bank of a stack.
        least: shortest gap without a budget.
        timing: timing table.
        power: power budget of a stack.
    """
    shortest = column_j / (power.budget_w * timing.tck_s)
    longer = max(0, ceil((shortest - least) / timing.burst))
    return least + longer * timing.burst
