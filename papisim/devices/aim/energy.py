"""Energy of the commands of GDDR6-AiM."""

from __future__ import annotations

from collections import Counter

from papisim.config.base import NonNegative, Spec
from papisim.devices.aim.commands import C
from papisim.ops.cost import Energy


class CommandEnergy(Spec):
    """Joules of commands.

    Attributes:
        activate_j: opening and closing a row of one bank.
        read_j: reading a column of one bank, or a register of each.
        write_j: writing a column of one bank, or a register of each.
        mac_j: a MAC in all banks of a channel; an elementwise product, in one bank of each four, takes a quarter.
        data_j: a column over the pins.
        command_j: a command on its way to a channel.
        request_j: a request in a controller.
    """

    activate_j: NonNegative
    read_j: NonNegative
    write_j: NonNegative
    mac_j: NonNegative
    data_j: NonNegative
    command_j: NonNegative
    request_j: NonNegative


#: commands that read or write one column, or a register of each bank
_READS, _WRITES = (C.RD, C.RDCP, C.RDMAC16, C.RDAF16), (C.WR, C.WRCP, C.WRMAC16)
#: commands that move data over the pins
_OVER_PINS = (C.RD, C.WR, C.WRGB, C.RDMAC16, C.RDAF16, C.WRMAC16, C.WRA16)
#: commands that open, close or switch, and ask for nothing themselves
_OWN = (C.ACT, C.ACT16, C.PRE, C.PREA, C.TMOD)


def energy_of(counts: Counter[C], terms: CommandEnergy, banks: int, banks_per_group: int) -> Energy:
    """Return the energy of commands in channels of ``banks`` banks."""

    def sum_of(commands: tuple[C, ...]) -> int:
        return sum(counts[command] for command in commands)

    reads = sum_of(_READS) + banks * counts[C.AF16]
    writes = sum_of(_WRITES) + banks * counts[C.WRA16]
    commands = sum(counts.values())
    control_j = commands * terms.command_j + (commands - sum_of(_OWN)) * terms.request_j
    return Energy(
        dram_activation_j=(counts[C.ACT] + banks * counts[C.ACT16]) * terms.activate_j,
        dram_access_j=reads * terms.read_j + writes * terms.write_j,
        dram_transfer_j=sum_of(_OVER_PINS) * terms.data_j + control_j,
        pim_compute_j=(counts[C.MAC16] + counts[C.EWMUL16] / banks_per_group) * terms.mac_j,
    )
