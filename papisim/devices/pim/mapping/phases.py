"""The phases of a channel: mappings produce them, the timing adds them up, the command stream spells them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from papisim.devices.numbers import Whole, each, whole
from papisim.devices.pim.energy import Activity
from papisim.devices.pim.level import Level
from papisim.devices.pim.organisation import Fpu
from papisim.devices.pim.timing import ONE_COMMAND_EACH, CommandCounts, Sweep
from papisim.errors import NotModelled
from papisim.ops.formats import Packed


class Moves(NamedTuple):
    """Work of the data path and the logic die of a channel in one phase, one after the other.

    The first three count bursts of one column's width: results brought to the logic die (MVSB), input vectors written
    to the GEMV buffers of all ways at once (WRGB), and softmax output brought back to them (MVGB), which follows the
    ``softmax`` cycles of the vector unit (SFM). ``turnaround`` counts cycles a shared column bus takes to turn after them. ``reads``
    count bursts that the host reads among them.
    Each may be an array, of one phase at many sizes.
    """

    results_out: Whole = 0
    operands_in: Whole = 0
    softmax: Whole = 0
    scores_in: Whole = 0
    turnaround: Whole = 0
    reads: Whole = 0

    def cycles(self, burst: int) -> Whole:
        """Return the cycles of all moves when a burst takes ``burst`` cycles."""
        bursts = self.results_out + self.operands_in + self.scores_in + self.reads
        return bursts * burst + self.softmax + self.turnaround


class ChannelPhase(NamedTuple):
    """The work of a channel between two barriers: the sweep of the banks beside the moves."""

    sweep: Sweep
    moves: Moves


class Repeat(NamedTuple):
    """Phases, or runs of them, that follow one another, ``times`` times over."""

    items: Sequence[ChannelPhase | Repeat]
    times: int


Program = Sequence[ChannelPhase | Repeat]


class Placed(NamedTuple):
    """A kernel on a pool: the program of its busiest channel, and what all channels do together."""

    program: Program
    activity: Activity


NO_SWEEP = Sweep(0, 1, 1)
NO_MOVES = Moves()


class Columns(NamedTuple):
    """Contents of columns, by the formats of a kernel's operands.

    Attributes:
        elements: inputs, queries or results in a column's width.
        stored: numbers of the weight or the cache in a column; more than elements where they are packed.
        scale_ratio: columns of scales for each column of numbers.
        uses: uses of a column by the units for each token-row: one, more if it holds more numbers than they have lanes.
        input_uses: uses of a column of inputs or scales.
    """

    elements: int
    stored: int
    scale_ratio: float = 0.0
    uses: int = 1
    input_uses: int = 1

    @property
    def inputs(self) -> int:
        """Columns' worth of inputs that the numbers of a column are multiplied with."""
        return -(-self.stored // self.elements)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The whole numbers of a pool that mappings divide by.

    Attributes:
        count: stacks.
        channels: channels of a stack.
        pseudo_channels: pseudo-channels of a channel; each has a data path of its own.
        bank_groups: bank groups of each rank of a pseudo-channel.
        ways: (pseudo-channel, rank, bank group) triples of a channel.
        banks: banks of a way.
        fpu: units, and the level they sit at.
        column_bytes: width of a column access.
        columns_per_row: columns of a row of one bank.
        column_gap: least cycles between column commands, power aside.
        paced_gap: least cycles between column commands that are used once, power included.
        operand_columns: columns' worth of inputs in a bank's operand buffer.
        split_inputs: whether stacks may split the inputs of an FC kernel.
        overlap: whether moves and MACs overlap.
        turnaround: cycles to turn a column bus that moves and MACs share.
        result_bytes: partial sums of a way in the result buffer.
        burst: cycles a column's worth of data takes on a data path.
        channels_per_head: channels that share one attention pair.
        weight_reuse_rows: maximum token-rows per reading of a weight, the buffers aside.
        query_reuse_rows: maximum query rows per reading of a cache, the buffers aside.
        logic_flop_per_cycle: operations of the vector unit per channel.
        occupancy: cycles that a column command occupies its units, by the number of uses of the column.
        counts: commands that open a row in all banks, take a column and close the row.
        stored_for: the level that weights are laid out for, if it is another.
    """

    count: int
    channels: int
    pseudo_channels: int
    bank_groups: int
    ways: int
    banks: int
    fpu: Fpu
    column_bytes: int
    columns_per_row: int
    column_gap: int
    paced_gap: int
    operand_columns: int
    split_inputs: bool
    overlap: bool
    turnaround: int
    result_bytes: int
    burst: int
    channels_per_head: int
    weight_reuse_rows: int | None
    query_reuse_rows: int | None
    logic_flop_per_cycle: float
    occupancy: Callable[[int], int]
    counts: CommandCounts = ONE_COMMAND_EACH
    stored_for: Geometry | None = None

    @property
    def turns(self) -> int:
        """Banks that take turns, a column command each."""
        return self.fpu.banks_in_turn

    @property
    def path_ways(self) -> int:
        """Ways whose results share a data path to the logic die; those of its own units are there."""
        return 0 if self.fpu.at is Level.BASE_DIE else self.ways // self.pseudo_channels

    def elements(self, element_bytes: int) -> int:
        """Elements of a column."""
        return self.column_bytes // element_bytes

    def columns(self, element_bytes: int, packed: Packed | None = None, length: int = 0) -> Columns:
        """Return the contents of columns of a weight or a cache that is packed in vectors of a length; scales have columns of their own.

        Raises:
            NotModelled: the units take no such numbers.
        """
        elements = self.elements(element_bytes)
        whole_turns = -(-elements // self.fpu.lanes)
        if packed is None:
            return Columns(elements, elements, uses=whole_turns, input_uses=whole_turns)
        if not self.fpu.takes(packed.bits):
            takes = ", ".join(map(str, sorted({*self.fpu.widens_bits, *self.fpu.lanes_by_bits}))) or "none"
            raise NotModelled(
                f"numbers of {packed.bits} bits in PIM stacks whose units take {takes} (fields fpu.widens_bits, fpu.lanes_by_bits)"
            )
        stored = 8 * self.column_bytes // packed.bits
        uses = -(-stored // self.fpu.lanes_of(packed.bits))
        return Columns(elements, stored, packed.scale_ratio(length), uses, whole_turns)

    def sweep(self, columns: Whole, rows: int, held: Columns) -> Sweep:
        """Return the sweep over ``columns`` columns of each bank for ``rows`` token-rows, and over their scales.

        A column of scales is used like a column of inputs, and counts as the share of a column that the scales take.
        """
        occupancy = self.occupancy(rows * held.uses)
        if held.scale_ratio:
            share = self.occupancy(rows * held.input_uses) / occupancy
            columns = columns + whole(columns * held.scale_ratio * share)
        return Sweep(columns * self.turns, self.columns_per_row * self.turns, occupancy, self.counts)

    def activity(self, program: Program, channels: float, macs: float) -> Activity:
        """Return the activity of ``channels`` channels that each run a program, with ``macs`` products for each column read."""
        columns, rows, shared, own = _counts(program)
        banks = channels * self.ways * self.banks
        read = columns // self.turns * banks
        moved = (shared + own * self.pseudo_channels) * self.column_bytes * channels
        raised = read * self.column_bytes if self.fpu.at.beyond_groups else 0.0
        return Activity(each(rows * banks), each(read), each(read * macs), each(moved), each(raised))


def _counts(program: Program) -> tuple[Whole, Whole, Whole, Whole]:
    """Return a program's column commands, rows opened, and bursts in (broadcast) and out or back (one a pseudo-channel)."""
    columns: Whole = 0
    rows = shared = own = columns
    sweeps: dict[int, tuple[Sweep, int]] = {}
    for phase, times in phases(program):
        sweep, moves = phase
        if sweep is not NO_SWEEP:
            sweeps[id(sweep)] = sweep, sweeps.get(id(sweep), (sweep, 0))[1] + times
        shared += moves.operands_in * times
        own += (moves.results_out + moves.scores_in) * times
    for sweep, times in sweeps.values():
        columns += sweep.columns * times
        rows += sweep.rows * times
    return columns, rows, shared, own


def phases(program: Program, times: int = 1) -> Iterator[tuple[ChannelPhase, int]]:
    """Yield each phase and the number of its repetitions."""
    for item in program:
        if isinstance(item, Repeat):
            yield from phases(item.items, times * item.times)
        else:
            yield item, times


def in_turns(program: Program, turnaround: int) -> Program:
    """Return a program whose moves and sweeps take turns on one bus, moves first."""
    turns: list[ChannelPhase | Repeat] = []
    for item in program:
        if isinstance(item, Repeat):
            turns.append(Repeat(in_turns(item.items, turnaround), item.times))
        elif item.sweep is not NO_SWEEP and item.moves is not NO_MOVES:
            turns += [
                ChannelPhase(NO_SWEEP, item.moves._replace(turnaround=turnaround)),
                ChannelPhase(item.sweep, NO_MOVES),
            ]
        else:
            turns.append(item)
    return turns
