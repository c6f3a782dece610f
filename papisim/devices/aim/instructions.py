"""Instructions of GDDR6-AiM, as its host interface takes them, and streams of them.

A stream is what a block of channels does for a kernel. Runs of instructions that repeat with rows a fixed distance apart are loops, so
that a stream is short whatever the size of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, TypeAlias


class Op(StrEnum):
    """Instructions by their name in traces of the AiM simulator (its README); stores and loads are accesses of the host.

    All but accesses and copies work on the banks of a channel together.
    """

    WRITE_BUFFER = "WR_GB"
    WRITE_BIAS = "WR_BIAS"
    MAC = "MAC_ABK"
    READ_MAC = "RD_MAC"
    FUNCTION = "AF"
    READ_FUNCTION = "RD_AF"
    MULTIPLY = "EWMUL"
    COPY_TO_BUFFER = "COPY_BKGB"
    COPY_FROM_BUFFER = "COPY_GBBK"
    WRITE_ALL = "WR_ABK"
    STORE = "W MEM"
    LOAD = "R MEM"
    SYNC = "SYNC"


#: accesses of the host to single banks
ACCESSES = frozenset({Op.STORE, Op.LOAD})


class Row(NamedTuple):
    """A row of DRAM: the tensor that it holds a part of, and its number there."""

    tensor: str
    number: int = 0

    def after(self, rows: int) -> Row:
        """Return the row of the same tensor that many rows on."""
        return Row(self.tensor, self.number + rows)


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        op: kind of instruction.
        columns: columns, one command each; of an access, bursts to each bank.
        row: row that it works on; None where it works on registers or the global buffer alone.
        banks: banks of a channel that an access or a copy goes to in turn.
        lanes: channels that an access or a ``WRITE_ALL`` goes to in turn; other instructions go to all at once.
    """

    op: Op
    columns: int = 1
    row: Row | None = None
    banks: tuple[int, ...] = ()
    lanes: int = 1


class Loop(NamedTuple):
    """Steps that are repeated.

    Attributes:
        times: number of repetitions.
        body: the steps.
        stride: rows between those of a repetition and those of the next.
    """

    times: int
    body: tuple[Step, ...]
    stride: int = 0


Step: TypeAlias = Instruction | Loop
Stream: TypeAlias = tuple[Step, ...]


def unrolled(stream: Stream, rows: int = 0) -> Iterator[Instruction]:
    """Yield the instructions of a stream one by one; rows are moved by ``rows``."""
    for step in stream:
        if isinstance(step, Loop):
            for index in range(step.times):
                yield from unrolled(step.body, rows + index * step.stride)
        else:
            yield step if step.row is None else step._replace(row=step.row.after(rows))
