"""Instruction streams as the AiM simulator reads them (README of aim_simulator, commit 0f28a07)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from papisim.devices.aim.instructions import ACCESSES, Instruction, Op, Stream, unrolled
from papisim.devices.aim.layout import Layout

#: channels that the simulator has, the first of them in the highest bit of a mask
_CHANNELS = 32


def write_trace(stream: Stream, layout: Layout, file: TextIO) -> int:
    """Write a stream, an instruction or an access per line; return the number of lines."""
    first, count = _first_rows(stream), 1
    for instruction in unrolled(stream):
        for line in _lines(instruction, layout, first):
            file.write(f"{line}\n")
            count += 1
    file.write("AiM EOC\n")
    return count


def _first_rows(stream: Stream) -> dict[str, int]:
    """Return the row at which each tensor begins, one behind the other."""
    rows: dict[str, int] = {}
    for instruction in unrolled(stream):
        if instruction.row is not None:
            tensor, number = instruction.row
            rows[tensor] = max(rows.get(tensor, 0), number + 1)
    first, begin = {}, 0
    for tensor, number in rows.items():
        first[tensor], begin = begin, begin + number
    return first


def _mask(channels: range) -> str:
    return hex(sum(1 << (_CHANNELS - 1 - channel) for channel in channels))


def _lines(instruction: Instruction, layout: Layout, first: dict[str, int]) -> Iterator[str]:
    op, columns, row, banks, lanes = instruction
    number = 0 if row is None else first[row.tensor] + row.number
    every = _mask(range(layout.channels * layout.blocks))
    if op in ACCESSES:
        turn = [f"{op} {channel} {bank} {number}" for channel in range(lanes) for bank in banks]
        yield from turn * columns
    elif op is Op.WRITE_ALL:
        yield from (f"AiM {op} 0 {_mask(range(lane, lane + 1))} {number}" for lane in range(lanes))
    elif op is Op.WRITE_BUFFER:
        yield f"AiM {op} {columns} 0 {every}"
    elif op in {Op.WRITE_BIAS, Op.READ_MAC, Op.READ_FUNCTION}:
        yield f"AiM {op} 0 {every}"
    elif op in {Op.MAC, Op.MULTIPLY}:
        yield f"AiM {op} {columns} {every} {number}"
    elif op is Op.FUNCTION:
        yield f"AiM {op} {every}"
    elif op is Op.SYNC:
        yield f"AiM {op}"
    else:
        yield f"AiM {op} {columns} {every} {banks[0]} {number}"
