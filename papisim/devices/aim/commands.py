"""Commands of a GDDR6-AiM channel and the least cycles between them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from papisim.config.base import Count, Spec
from papisim.devices.pim.timing import Natural, Timing


class Command(StrEnum):
    """Commands of a channel, by their name in the AiM simulator; those that end in 16 are for all banks."""

    ACT = "ACT"
    ACT16 = "ACT16"
    PRE = "PRE"
    PREA = "PREA"
    RD = "RD"
    WR = "WR"
    WRA16 = "WRA16"
    MAC16 = "MAC16"
    AF16 = "AF16"
    EWMUL16 = "EWMUL16"
    RDCP = "RDCP"
    WRCP = "WRCP"
    WRGB = "WRGB"
    WRMAC16 = "WRMAC16"
    RDMAC16 = "RDMAC16"
    RDAF16 = "RDAF16"
    TMOD = "TMOD"


class CommandTiming(Spec):
    """Cycles of commands that a DRAM table does not have.

    Attributes:
        cl: read to data (tCL).
        rcd_read: activate to read; that of MACs is the table's ``rcd``, that of writes its ``rcd_wr``.
        rcd_copy_to_buffer: activate to a copy into the global buffer.
        rcd_copy_from_buffer: activate to a copy out of the global buffer.
        rcd_multiply: activate to elementwise multiplication.
        rcd_function: activate to the look-up of an activation function.
        register_write: register or buffer write to data.
        read_to_write: end of read data to write data, the bus turned.
        write_to_read: end of write data to a read of another bank group.
        write_to_read_same: the same within a bank group.
        activate_gap: between activations of two banks (tRRD).
        mode_switch: between commands of registers or buffers and all others (tMODCH).
        queue: requests that a channel's controller holds.
    """

    cl: Count
    rcd_read: Count
    rcd_copy_to_buffer: Count
    rcd_copy_from_buffer: Count
    rcd_multiply: Count
    rcd_function: Count
    register_write: Natural
    read_to_write: Natural
    write_to_read: Natural
    write_to_read_same: Natural
    activate_gap: Count
    mode_switch: Natural
    queue: Count


class Scope(StrEnum):
    """Where a command delays another: in its bank, its bank group, or the whole channel."""

    BANK = "bank"
    GROUP = "group"
    CHANNEL = "channel"


class Rule(NamedTuple):
    """A command that another delays.

    Attributes:
        after: the later command.
        cycles: least cycles between them.
        scope: where it is delayed.
    """

    after: Command
    cycles: int
    scope: Scope


#: commands by a short name, for tables
C = Command
_READS = (C.RD, C.MAC16, C.RDCP, C.RDMAC16, C.RDAF16, C.EWMUL16)
_WRITES = (C.WR, C.WRA16, C.WRCP, C.WRGB, C.WRMAC16, C.EWMUL16)
#: commands of registers and the global buffer
REGISTER_MODE = frozenset({C.WRGB, C.WRMAC16, C.RDMAC16, C.RDAF16})


def latencies(dram: Timing, own: CommandTiming) -> dict[Command, int]:
    """Return the cycles from a command to its answer, data included; a cycle where there is none."""
    register = own.register_write + dram.burst
    return {
        C.RD: own.cl + dram.burst,
        C.WR: dram.cwl + dram.burst,
        C.WRA16: dram.cwl + dram.burst + dram.rp,
        C.WRGB: register,
        C.WRMAC16: register,
        C.RDMAC16: dram.burst,
        C.RDAF16: dram.burst,
    }


def following(dram: Timing, own: CommandTiming) -> dict[Command, list[Rule]]:
    """Return the rules by their earlier command, as the AiM simulator has them (GDDR6.cpp)."""
    table: dict[Command, list[Rule]] = {command: [] for command in C}
    table[C.TMOD] = [Rule(after, own.mode_switch, Scope.CHANNEL) for after in C]
    for befores, afters, cycles, scope in (*_buses(dram, own), *_closing(dram), *_opening(dram, own)):
        for before in befores:
            table[before].extend(Rule(after, cycles, scope) for after in afters)
    return table


_Spaced: TypeAlias = tuple[tuple[Command, ...], tuple[Command, ...], int, Scope]


def _buses(dram: Timing, own: CommandTiming) -> Iterator[_Spaced]:
    """Yield the rules of the buses for columns and data, which take time to turn."""
    written, register = dram.cwl + dram.burst, own.register_write + dram.burst
    turned, registers = own.read_to_write + dram.burst, (C.RDMAC16, C.RDAF16)
    yield _READS, _READS, dram.column_gap, Scope.CHANNEL
    yield _WRITES, _WRITES, dram.column_gap, Scope.CHANNEL
    yield (C.RD,), (C.WR, C.WRA16), own.cl + turned - dram.cwl, Scope.CHANNEL
    yield (C.RD,), (C.WRGB, C.WRMAC16), own.cl + turned - own.register_write, Scope.CHANNEL
    yield registers, (C.WRGB, C.WRMAC16), turned - own.register_write, Scope.CHANNEL
    yield (C.WR,), (C.RD,), written + own.write_to_read, Scope.CHANNEL
    yield (C.WR,), (C.RD,), written + own.write_to_read_same, Scope.GROUP
    yield (C.WR,), registers, written + own.write_to_read_same, Scope.CHANNEL
    yield (C.WRA16,), (C.RD, *registers), written + own.write_to_read_same, Scope.CHANNEL
    yield (C.WRGB,), (C.RD, *registers), register + own.write_to_read, Scope.CHANNEL
    yield (C.WRMAC16,), (C.RD, *registers), register + own.write_to_read_same, Scope.CHANNEL


def _closing(dram: Timing) -> Iterator[_Spaced]:
    """Yield the rules of precharging, one row or all at a time."""
    written = dram.cwl + dram.burst + dram.wr
    yield (C.RD, C.RDCP, C.MAC16, C.AF16), (C.PREA,), dram.rtp, Scope.CHANNEL
    yield (C.MAC16, C.AF16), (C.PRE,), dram.rtp, Scope.CHANNEL
    yield (C.RD, C.RDCP), (C.PRE,), dram.rtp, Scope.GROUP
    yield (C.WR, C.WRCP), (C.PREA,), written, Scope.CHANNEL
    yield (C.WR, C.WRCP), (C.PRE,), written, Scope.GROUP
    yield (C.EWMUL16,), (C.PRE, C.PREA), written - dram.burst, Scope.CHANNEL
    yield (C.ACT, C.ACT16), (C.PREA,), dram.ras, Scope.CHANNEL
    yield (C.ACT16,), (C.PRE,), dram.ras, Scope.CHANNEL
    yield (C.ACT,), (C.PRE,), dram.ras, Scope.BANK
    yield (C.PRE, C.PREA), (C.PRE, C.PREA), dram.rp, Scope.CHANNEL


def _opening(dram: Timing, own: CommandTiming) -> Iterator[_Spaced]:
    """Yield the rules of activating rows, and of the first columns after it."""
    activates, write = (C.ACT, C.ACT16), dram.rcd_wr or dram.rcd
    yield (C.PRE, C.PREA), (C.ACT16,), dram.rp, Scope.CHANNEL
    yield (C.PREA,), (C.ACT,), dram.rp, Scope.CHANNEL
    yield (C.PRE,), (C.ACT,), dram.rp, Scope.BANK
    yield (C.WRA16,), activates, dram.cwl + dram.burst + dram.wr + dram.rp, Scope.CHANNEL
    yield activates, activates, own.activate_gap, Scope.CHANNEL
    all_banks = {C.MAC16: dram.rcd, C.AF16: own.rcd_function, C.EWMUL16: own.rcd_multiply, C.WRA16: write}
    for command, cycles in all_banks.items():
        yield activates, (command,), cycles, Scope.CHANNEL
    single = {C.RDCP: own.rcd_copy_to_buffer, C.WRCP: own.rcd_copy_from_buffer, C.RD: own.rcd_read, C.WR: write}
    for command, cycles in single.items():
        yield (C.ACT16,), (command,), cycles, Scope.CHANNEL
        yield (C.ACT,), (command,), cycles, Scope.BANK


#: a command in its bank, its bank group, or the whole channel: what is held back until a cycle
Place: TypeAlias = tuple[Command, Scope, int]


class Table:
    """The rules of a channel, by command and bank.

    Args:
        dram: the DRAM table.
        own: cycles of commands that it does not have.
        group: banks of a bank group.
    """

    def __init__(self, dram: Timing, own: CommandTiming, group: int) -> None:
        self.column_gap, self.burst, self.queue = dram.column_gap, dram.burst, own.queue
        self.latency = latencies(dram, own)
        self._following, self._group = following(dram, own), group
        self._held: dict[tuple[Command, int | None], list[tuple[Place, int]]] = {}
        self._waits: dict[tuple[Command, int | None], tuple[Place, ...]] = {}

    def held(self, command: Command, bank: int | None) -> list[tuple[Place, int]]:
        """Return the places that a command holds back, with the cycles of each."""
        found = self._held.get((command, bank))
        if found is None:
            longest: dict[Place, int] = {}
            for after, cycles, scope in self._following[command]:
                place = after, scope, self._number(scope, bank)
                longest[place] = max(longest.get(place, 0), cycles)
            found = self._held[command, bank] = list(longest.items())
        return found

    def waits(self, command: Command, bank: int | None) -> tuple[Place, ...]:
        """Return the places at which a command may be held back."""
        found = self._waits.get((command, bank))
        if found is None:
            scopes = (Scope.CHANNEL,) if bank is None else tuple(Scope)
            found = self._waits[command, bank] = tuple(
                (command, scope, self._number(scope, bank)) for scope in scopes
            )
        return found

    def _number(self, scope: Scope, bank: int | None) -> int:
        numbers = {Scope.CHANNEL: 0, Scope.BANK: bank or 0, Scope.GROUP: (bank or 0) // self._group}
        return numbers[scope]
