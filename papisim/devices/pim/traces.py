"""Command streams in the formats of other simulators, and back.

``ramulator``: requests of AttAcc's fork of Ramulator 2 (Park et al., ASPLOS 2024), ``PIM_MAC_AB 0x00000020`` per line; its controller
opens and closes rows itself, so that the trace has none. The address has, from the highest bits down, channel, pseudo-channel, rank, bank
group, bank, row, column and the bytes of a column.

``aim``: host instructions of the AiM simulator (Gu et al., ASPLOS 2025), ``AiM MAC_ABK 64 1 0`` per line; an instruction covers
neighbouring columns of one row, and rows are opened and closed by its controller.

Neither has the duration of a command: both simulators space commands by their own timing. Read back, a command has the part's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TextIO

from papisim import foreign
from papisim.devices.pim.commands import Command, Op, Spacing
from papisim.devices.pim.organisation import Organisation
from papisim.errors import InputError, NotModelled, did_you_mean

#: requests of AttAcc's simulator by command, and the request for a barrier
_REQUESTS = {
    Op.MAC: "PIM_MAC_AB", Op.WRITE_OPERANDS: "PIM_WR_GB", Op.MOVE_RESULTS: "PIM_MV_SB", Op.MOVE_SCORES: "PIM_MV_GB",
    Op.SOFTMAX: "PIM_SFM",
}  # fmt: skip
_BARRIER = "PIM_BARRIER"
_OPS = {name: op for op, name in _REQUESTS.items()}


class _Address:
    """Addresses of a stack as AttAcc's simulator lays them out: a field of bits per level."""

    def __init__(self, organisation: Organisation) -> None:
        sizes = {
            "channel": organisation.channels,
            "pseudo_channel": organisation.pseudo_channels,
            "rank": organisation.ranks,
            "bank_group": organisation.bank_groups,
            "bank": organisation.banks_per_group,
            "row": int(organisation.bank_bytes // organisation.row_bytes),
            "column": organisation.columns_per_row,
            "byte": int(organisation.column_bytes),
        }
        odd = [name for name, size in sizes.items() if size & (size - 1)]
        if odd:
            raise NotModelled(
                f"addresses of a stack whose {odd[0].replace('_', ' ')}s are {sizes[odd[0]]}; AttAcc's simulator needs powers of two"
            )
        self.sizes = sizes
        self._shifts: dict[str, int] = {}
        shift = 0
        for name, size in reversed(sizes.items()):
            self._shifts[name] = shift
            shift += size.bit_length() - 1

    def of(self, **fields: int) -> int:
        """Return the address of a place; levels that are not named are 0, and numbers wrap around."""
        return sum((number % self.sizes[name]) << self._shifts[name] for name, number in fields.items())

    def field(self, address: int, name: str) -> int:
        """Return the number of a level in an address."""
        return (address >> self._shifts[name]) % self.sizes[name]


def write_ramulator(commands: Iterable[Command], organisation: Organisation, spacing: Spacing, file: TextIO) -> int:
    """Write the requests of one channel, a barrier where a section begins; return the number of lines.

    Moves that take ``moves`` cycles each go to the ranks and bank groups in turn, operands that take longer to the banks of one
    group, so that the simulator's rules for the data path space them alike.

    Raises:
        NotModelled: the stack's sizes are no powers of two, or a MAC takes longer than those of the simulator.
    """
    address, count, section, column, moved = _Address(organisation), 0, 0, 0, 0
    last_row = -1
    for command in commands:
        for _ in range(command.section - section):
            file.write(f"{_BARRIER} 0x{0:08x}\n")
            count += 1
        section = command.section
        if command.op not in _REQUESTS:
            last_row = -1 if command.op is Op.ACTIVATE else last_row
            continue
        if command.op is Op.MAC:
            _check_spacing(command, spacing)
            column = column + 1 if command.row == last_row else 0
            last_row, place = command.row, address.of(row=command.row, column=column)
        elif command.op is Op.WRITE_OPERANDS and command.busy > spacing.moves:
            place, moved = address.of(bank=moved, column=moved // organisation.banks_per_group), moved + 1
        elif command.op is Op.SOFTMAX:
            place = 0
        else:
            place, moved = address.of(rank=moved, bank_group=moved // organisation.ranks), moved + 1
        file.write(f"{_REQUESTS[command.op]} 0x{place:08x}\n")
        count += 1
    return count


def _check_spacing(command: Command, spacing: Spacing) -> None:
    if command.busy != spacing.mac:
        raise NotModelled(
            f"MACs that take {command.busy} cycles in a trace of another simulator, which spaces all of them alike "
            f"(here {spacing.mac}): the units use a column for more than one token-row in turn"
        )


def read_ramulator(path: Path, organisation: Organisation, spacing: Spacing) -> Iterator[Command]:
    """Yield the commands of the channel that a trace uses most, rows closed and opened where the next column lies in another.

    Operands that go to several bank groups in turn are as close as other moves.

    Raises:
        InputError: a line is no request.
    """
    address = _Address(organisation)
    requests = [(line, *_request(path, line, text)) for line, text in _lines(path)]
    channels = [address.field(place, "channel") for _, _, place in requests]
    if not channels:
        raise InputError("holds no requests", file=str(path))
    busiest = max(sorted(set(channels)), key=channels.count)
    operand_groups = {address.of(rank=address.field(place, "rank"), bank_group=address.field(place, "bank_group"))
                      for _, name, place in requests if name == _REQUESTS[Op.WRITE_OPERANDS]}  # fmt: skip
    if len(operand_groups) > 1:
        spacing = spacing._replace(operands=spacing.moves)
    section, open_row = 0, -1
    for (_, name, place), channel in zip(requests, channels, strict=True):
        if channel != busiest:
            continue
        if name == _BARRIER:
            section += 1
            continue
        op = _OPS[name]
        if op is not Op.MAC:
            yield Command(op, section, spacing.of(op))
            continue
        row = address.field(place, "row")
        yield from _turned(open_row, row, section)
        open_row = row
        yield Command(op, section, spacing.mac, row)


def _turned(open_row: int, row: int, section: int) -> Iterator[Command]:
    """Yield the commands that close the open row, if any, and open another."""
    if row != open_row:
        if open_row >= 0:
            yield Command(Op.PRECHARGE, section, 1, open_row)
        yield Command(Op.ACTIVATE, section, 1, row)


def _request(path: Path, line: int, text: str) -> tuple[str, int]:
    known = (*_OPS, _BARRIER)
    match text.split():
        case [name, place] if name in known:
            try:
                return name, int(place, 16 if place[:2].lower() == "0x" else 10)
            except ValueError:
                raise InputError(
                    f"found '{place}', expected an address such as 0x00000020", file=str(path), line=line
                ) from None
        case [name, _]:
            raise InputError(f"found '{name}'; {did_you_mean(name, known)}", file=str(path), line=line)
    raise InputError(f"found '{text[:40]}', expected a request and an address", file=str(path), line=line)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a trace that are neither empty nor comments, with their numbers."""
    for line, text in enumerate(foreign.read_text(path, "command trace").splitlines(), start=1):
        if text.strip() and not text.lstrip().startswith("#"):
            yield line, text.strip()


#: AiM instructions by command, and their fields besides the channels
_INSTRUCTIONS = {Op.MAC: "MAC_ABK", Op.WRITE_OPERANDS: "WR_GB", Op.MOVE_SCORES: "WR_GB", Op.MOVE_RESULTS: "RD_MAC"}
_SYNC, _END = "SYNC", "EOC"
_ONE_CHANNEL = 1


def write_aim(commands: Iterable[Command], organisation: Organisation, spacing: Spacing, file: TextIO) -> int:
    """Write the instructions of one channel, ``SYNC`` where a section begins and ``EOC`` at the end; return the number of lines.

    Columns of a row that follow one another, and operands that do, are one instruction. Softmax is left out: a host computes it.

    Raises:
        NotModelled: a MAC takes longer than those of the simulator.
    """
    del organisation
    count, section = 1, 0
    kept = (command for command in commands if command.op in _INSTRUCTIONS)
    for (new, name, row), run in groupby(kept, key=lambda each: (each.section, _INSTRUCTIONS[each.op], each.row)):
        for _ in range(new - section):
            file.write(f"AiM {_SYNC}\n")
            count += 1
        section, together = new, list(run)
        if name == "MAC_ABK":
            _check_spacing(together[0], spacing)
            file.write(f"AiM MAC_ABK {len(together)} {_ONE_CHANNEL} {row}\n")
        elif name == "RD_MAC":
            file.writelines(f"AiM RD_MAC 0 {_ONE_CHANNEL}\n" for _ in together)
            count += len(together) - 1
        else:
            file.write(f"AiM WR_GB {len(together)} 0 {_ONE_CHANNEL}\n")
        count += 1
    file.write(f"AiM {_END}\n")
    return count


def read_aim(path: Path, organisation: Organisation, spacing: Spacing) -> Iterator[Command]:
    """Yield the commands of the lowest channel that a trace of instructions uses.

    Raises:
        InputError: a line is no instruction, or one that streams here do not have.
    """
    del organisation
    section, open_row, ended = 0, -1, False
    for line, text in _lines(path):
        name, numbers = _instruction(path, line, text)
        match name, numbers:
            case "SYNC", []:
                section += 1
            case "EOC", []:
                ended = True
                break
            case "MAC_ABK", [columns, _, row]:
                yield from _turned(open_row, row, section)
                open_row = row
                yield from [Command(Op.MAC, section, spacing.mac, row)] * columns
            case "WR_GB", [operands, _, _]:
                yield from [Command(Op.WRITE_OPERANDS, section, spacing.operands)] * operands
            case "RD_MAC", [_, _]:
                yield Command(Op.MOVE_RESULTS, section, spacing.moves)
            case _:
                raise InputError(
                    f"found '{text[:40]}' with another number of fields than {name} has", file=str(path), line=line
                )
    if not ended:
        raise InputError(f"ends without 'AiM {_END}'", file=str(path))


def _instruction(path: Path, line: int, text: str) -> tuple[str, list[int]]:
    known = ("MAC_ABK", "WR_GB", "RD_MAC", _SYNC, _END)
    head, *rest = text.split()
    if head != "AiM" or not rest:
        raise InputError(
            f"found '{text[:40]}', expected an AiM instruction; memory accesses are not in these streams",
            file=str(path),
            line=line,
        )
    name = rest[0].removeprefix("ISR_")
    if name not in known:
        raise InputError(f"found '{name}'; {did_you_mean(name, known)}", file=str(path), line=line)
    try:
        return name, [int(number, 0) for number in rest[1:]]
    except ValueError:
        raise InputError(
            f"found '{text[:40]}', expected whole numbers after {name}", file=str(path), line=line
        ) from None


class TraceFormat(NamedTuple):
    """A format of command traces: what writes it and what reads it."""

    write: Callable[[Iterable[Command], Organisation, Spacing, TextIO], int]
    read: Callable[[Path, Organisation, Spacing], Iterator[Command]]


#: formats by the name of the simulator that reads them
FORMATS = {"ramulator": TraceFormat(write_ramulator, read_ramulator), "aim": TraceFormat(write_aim, read_aim)}
