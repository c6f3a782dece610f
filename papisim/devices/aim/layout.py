"""Where the tensors of a decoder block lie in GDDR6-AiM channels, as CENT places them (Gu et al., ASPLOS 2025, Section 5)."""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """The channels that a block works on, and their sizes.

    Attributes:
        channels: channels of a device that a block has.
        blocks: blocks that a device works on side by side, each on channels of its own.
        devices: devices that share the FC kernels and the keys of a block; one of them does the rest.
        banks: banks of a channel.
        banks_per_group: banks of a bank group.
        columns: columns of a row.
        lanes: numbers of a column.
        registers: sums that a unit holds.
        most_tokens: tokens of a cache that rows are reserved for.
    """

    channels: int
    blocks: int
    devices: int
    banks: int
    banks_per_group: int
    columns: int
    lanes: int
    registers: int
    most_tokens: int

    @property
    def own_banks(self) -> int:
        """Banks of a block in one device."""
        return self.channels * self.banks

    @property
    def shared_banks(self) -> int:
        """Banks of a block in all devices that share it."""
        return self.devices * self.own_banks

    @property
    def row_numbers(self) -> int:
        """Numbers of a row."""
        return self.columns * self.lanes

    @property
    def most_rows(self) -> int:
        """Rows that the tokens of the longest cache take where a row holds one number of each."""
        return up(self.most_tokens, self.row_numbers)

    def in_columns(self, numbers: int) -> int:
        """Return the columns that hold numbers."""
        return up(numbers, self.lanes)

    def chunks(self, numbers: int) -> tuple[int, ...]:
        """Return the columns of each row that holds numbers; all but the last row are full."""
        full, rest = divmod(numbers - 1, self.row_numbers)
        return (self.columns,) * full + (self.in_columns(rest + 1),)

    def every(self, step: int, first: int) -> tuple[int, ...]:
        """Return each ``step``-th bank of a channel."""
        return tuple(range(first, self.banks, step))


class Slice(NamedTuple):
    """A vector over banks of all channels of a block.

    Attributes:
        numbers: numbers of a bank.
        lanes: channels that hold some of it, those of all blocks side by side together.
    """

    numbers: int
    lanes: int

    @classmethod
    def of(cls, layout: Layout, width: int, step: int) -> Slice:
        """Return a vector of ``width`` numbers over each ``step``-th bank."""
        banks = layout.banks // step
        numbers = up(width, layout.channels * banks)
        return cls(numbers, up(up(width, numbers), banks) * layout.blocks)


def up(number: int, part: int) -> int:
    """Return the number of parts that cover a number."""
    return -(-number // part)
