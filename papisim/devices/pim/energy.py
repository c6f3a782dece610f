"""Energy of DRAM commands and FPUs, the power that follows, and the column gap that the power budget leaves."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from papisim.config.base import NonNegative, Spec
from papisim.devices.pim.organisation import Fpu, Organisation, Power
from papisim.devices.pim.timing import Timing
from papisim.ops.cost import Energy

_FLOP_PER_MAC = 2


class EnergyTable(Spec):
    """Energy per command, byte and operation.

    Attributes:
        activation_j: opening and closing one row of one bank.
        column_j_per_byte: a column access, from the cells to the bank's edge.
        to_fpu_j_per_byte: from the bank's edge into the FPU's operand latch.
        data_path_j_per_byte: between a bank group and the logic die or the stack's pins.
        fpu_j_per_flop: FPU work, operand and result buffers included.
        logic_j_per_flop: work of the logic die's vector unit.
    """

    activation_j: NonNegative
    column_j_per_byte: NonNegative
    to_fpu_j_per_byte: NonNegative
    data_path_j_per_byte: NonNegative
    fpu_j_per_flop: NonNegative
    logic_j_per_flop: NonNegative


class Activity(NamedTuple):
    """Everything that costs energy in one kernel, counted over all stacks.

    ``columns`` and ``activations`` count banks (an all-bank command counts once for each bank it reaches);
    ``column_rows`` counts (column, token-row) products: reuse costs FPU work and no further access.
    """

    activations: float = 0
    columns: float = 0
    column_rows: float = 0
    data_path_bytes: float = 0
    logic_flop: float = 0


def energy_of(activity: Activity, table: EnergyTable, organisation: Organisation, fpu: Fpu) -> Energy:
    """Return the energy of an activity by part."""
    column_bytes = activity.columns * organisation.column_bytes
    fpu_flop = activity.column_rows * fpu.lanes * _FLOP_PER_MAC
    return Energy(
        dram_activation_j=activity.activations * table.activation_j,
        dram_access_j=column_bytes * table.column_j_per_byte,
        dram_transfer_j=column_bytes * table.to_fpu_j_per_byte
        + activity.data_path_bytes * table.data_path_j_per_byte,
        pim_compute_j=fpu_flop * table.fpu_j_per_flop + activity.logic_flop * table.logic_j_per_flop,
    )


def column_energy(reuse: float, table: EnergyTable, organisation: Organisation, fpu: Fpu) -> Energy:
    """Return the energy of one column of one bank, used for ``reuse`` token-rows, with its share of a full row."""
    activity = Activity(activations=1 / organisation.columns_per_row, columns=1, column_rows=reuse)
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


def power_limited_gap(  # noqa: PLR0917
    reuse: int, timing: Timing, power: Power, table: EnergyTable, organisation: Organisation, fpu: Fpu
) -> int:
    """Return the shortest column gap, in cycles, whose streaming power stays within the budget.

    Gaps lengthen in whole bursts, the granularity at which a column command meets the data path.
    """
    energy_j = streaming_w(reuse, 1.0, table, organisation, fpu)
    shortest = energy_j / (power.budget_w * timing.tck_s)
    longer = max(0, ceil((shortest - timing.column_gap) / timing.burst))
    return timing.column_gap + longer * timing.burst
