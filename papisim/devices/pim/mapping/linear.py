"""Fully connected kernels on PIM stacks (PAPI, Section 6.4).

The weight is cut into 2-D blocks over the stacks; inside one, outputs are split over channels and their ways, inputs
over the banks of a way and the lanes of an FPU. The banks of a way add their partial sums, so a way owns whole
outputs of its block; blocks along k leave partial sums that the host adds.

A bank stores its block one input column after the other, each for all outputs of its way. The operand buffer is used in
two halves: while the banks sweep one input column, the inputs of later ones arrive, and only the first is waited
for. The sums of all outputs and token-rows stay in the result buffer until the end of the pass; token-rows whose sums do not fit
make another pass that reads every column again. Where not even the sums of one token-row fit, a pass covers as many outputs as
do: the inputs are sent again for each such part of the outputs, and the columns of a part lie together.

The weights of a grouped kernel, such as a layer's experts, are all cut in this way: a bank holds a slice of each, and the stacks
go through one after another, with the inputs of the next on their way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

from papisim.devices.pim.mapping.phases import (
    NO_MOVES,
    NO_SWEEP,
    ChannelPhase,
    Columns,
    Geometry,
    Moves,
    Placed,
    Program,
    Repeat,
)
from papisim.devices.pim.timing import Sweep
from papisim.ops.kernel import Linear

#: token-rows that weights are cut for; a choice of this mapping, between one and the reuse that FC-PIM is built for
_CUT_FOR_ROWS = 4


class Block(NamedTuple):
    """The part of a weight that one stack holds, in the units of its mapping.

    Attributes:
        cuts_k: blocks along the inputs.
        cuts_n: blocks along the outputs.
        deep: columns that one output takes in each bank.
        outputs: outputs of each way.
    """

    cuts_k: int
    cuts_n: int
    deep: int
    outputs: int


def block(geometry: Geometry, k: int, n: int, columns: Columns) -> Block:
    """Cut a ``(k, n)`` weight over the stacks.

    The best cut for a few token-rows whose first inputs and results are not hidden, while other inputs arrive beside
    the sweep. The cut must not depend on the token-rows of one kernel, because weights never move.
    """
    per_k, per_n = geometry.banks * columns.stored, geometry.channels * geometry.ways
    gap, burst = geometry.column_gap, geometry.burst
    if (
        columns.stored > columns.elements
    ):  # packed weights are multiplied in several turns, and soon wait for the units
        gap = geometry.occupancy(_CUT_FOR_ROWS * columns.uses)
    column_cycles = geometry.turns * gap
    best, best_cycles = None, 0
    for cuts_k, cuts_n in _cuts(geometry.count) if geometry.split_inputs else ((1, geometry.count),):
        deep, outputs = -(-k // (cuts_k * per_k)), -(-n // (cuts_n * per_n))
        inputs = _CUT_FOR_ROWS * geometry.banks * columns.inputs
        beside = (deep - 1) * inputs * burst
        results = geometry.path_ways * -(-outputs * _CUT_FOR_ROWS // columns.elements)
        exposed = (inputs + results) * burst
        cycles = max(deep * outputs * column_cycles, beside) + exposed
        if best is None or cycles < best_cycles:
            best, best_cycles = Block(cuts_k, cuts_n, deep, outputs), cycles
    assert best is not None
    return best


@lru_cache(maxsize=64)
def _cuts(count: int) -> tuple[tuple[int, int], ...]:
    """Return the cuts along (k, n) that are worth trying on ``count`` stacks: no other has more blocks both ways."""
    best = {count // cuts_k: cuts_k for cuts_k in range(1, count + 1)}
    return tuple((cuts_k, cuts_n) for cuts_n, cuts_k in best.items())


def place_linear(geometry: Geometry, kernel: Linear) -> Placed:
    """Place an ``(m, k) × (k, n)`` kernel on the pool."""
    columns = geometry.columns(kernel.element_bytes, kernel.weights, kernel.k)
    cut = block(geometry.stored_for or geometry, kernel.k, kernel.n, columns)
    runs = list(_runs(kernel, held_at_once(geometry, cut, columns)))
    passes = _Passes(geometry, cut, columns)
    program = passes.overlapped(runs) if geometry.overlap else passes.in_turns(runs)
    macs = kernel.m * columns.stored / (sum(run.times * run.outputs for run in runs) / cut.outputs)
    return Placed(program, geometry.activity(program, cut.cuts_k * cut.cuts_n * geometry.channels, macs))


class Run(NamedTuple):
    """Passes over weights that follow one another, each for equally many token-rows and outputs of a way."""

    rows: int
    outputs: int
    times: int


class Held(NamedTuple):
    """The most token-rows of one pass, and the parts of a way's outputs that passes cover: outputs, and the number of such parts."""

    rows: int
    parts: tuple[tuple[int, int], ...]


def held_at_once(geometry: Geometry, cut: Block, columns: Columns) -> Held:
    """Return the token-rows and outputs whose inputs and sums the buffers hold during a pass."""
    room = geometry.operand_columns // 2 if geometry.overlap else geometry.operand_columns
    sums = geometry.result_bytes * columns.elements // geometry.column_bytes
    rows = max(1, min(sums // cut.outputs, room // columns.inputs))
    part = min(cut.outputs, max(1, sums))
    full, rest = divmod(cut.outputs, part)
    return Held(min(rows, geometry.weight_reuse_rows or rows), ((part, full), *(((rest, 1),) if rest else ())))


def _runs(kernel: Linear, held: Held) -> Iterator[Run]:
    """Yield the passes of a kernel: of each product the passes that its rows need, products of equal rows one after another."""
    for rows, count in kernel.products:
        full, rest = divmod(rows, held.rows)
        for row_count, times in ((held.rows, full), (rest, 1)):
            if row_count and times:
                yield from (Run(row_count, outputs, times * parts * count) for outputs, parts in held.parts)


class _Passes:
    """The passes over the blocks of one stack, of one weight or of several of one shape."""

    def __init__(self, geometry: Geometry, cut: Block, columns: Columns) -> None:
        self._geometry, self._cut, self._columns = geometry, cut, columns
        self._sweeps: dict[tuple[int, int], Sweep] = {}

    def _column_in(self, rows: int) -> int:
        return rows * self._geometry.banks * self._columns.inputs

    def _results(self, run: Run) -> int:
        return self._geometry.path_ways * -(-run.outputs * run.rows // self._columns.elements)

    def _sweep(self, columns: int, rows: int) -> Sweep:
        """Return the sweep over columns of weights for token-rows."""
        found = self._sweeps.get((columns, rows))
        if found is None:
            found = self._sweeps[columns, rows] = self._geometry.sweep(columns, rows, self._columns)
        return found

    def _pass(self, run: Run, leaving: int, arriving: int) -> tuple[ChannelPhase, ChannelPhase]:
        """Return one pass; the last input column, which starts a row of its own, hides the first of the next pass."""
        before = self._cut.deep - 1
        later = self._sweep(before * run.outputs, run.rows)
        final = self._sweep(run.outputs, run.rows)
        return ChannelPhase(later, Moves(leaving, before * self._column_in(run.rows))), ChannelPhase(
            final, Moves(0, arriving)
        )

    def overlapped(self, runs: Sequence[Run]) -> Program:
        """Return all passes, with the inputs of the next and the results of the last moving beside the banks' sweep."""
        program: list[ChannelPhase | Repeat] = [
            ChannelPhase(NO_SWEEP, Moves(operands_in=self._column_in(runs[0].rows)))
        ]
        leaving = 0
        for run, following in zip_longest(runs, runs[1:]):
            own, results = self._column_in(run.rows), self._results(run)
            arriving = self._column_in(following.rows) if following else 0
            program += self._pass(run, leaving, own if run.times > 1 else arriving)
            if run.times > 2:  # noqa: PLR2004
                program.append(Repeat(self._pass(run, results, own), run.times - 2))
            if run.times > 1:
                program += self._pass(run, results, arriving)
            leaving = results
        return [*program, ChannelPhase(NO_SWEEP, Moves(leaving))]

    def in_turns(self, runs: Sequence[Run]) -> Program:
        """Return all passes where moves and MACs share a bus."""
        return [Repeat(self._turns(run), run.times) for run in runs]

    def _turns(self, run: Run) -> Program:
        """Return one pass in turns: the input columns that the buffer holds, then their MACs, which begin a row."""
        cut, geometry = self._cut, self._geometry
        at_once = max(1, min(cut.deep, geometry.operand_columns // (run.rows * self._columns.inputs)))
        whole, rest = divmod(cut.deep, at_once)

        def step(columns: int) -> tuple[ChannelPhase, ChannelPhase]:
            moves = Moves(operands_in=columns * self._column_in(run.rows), turnaround=geometry.turnaround)
            return ChannelPhase(NO_SWEEP, moves), ChannelPhase(self._sweep(columns * run.outputs, run.rows), NO_MOVES)

        results = ChannelPhase(NO_SWEEP, Moves(self._results(run)))
        return [Repeat(step(at_once), whole), *(step(rest) if rest else ()), results]
