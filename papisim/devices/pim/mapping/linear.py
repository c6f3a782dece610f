"""Fully connected kernels on PIM stacks (PAPI, Section 6.4).

The weight is cut into 2-D blocks over the stacks; inside one, outputs are split over channels and their ways, inputs
over the banks of a way and the lanes of an FPU. The banks of a way add their partial sums, so a way owns whole
outputs of its block; blocks along k leave partial sums that the host adds.

A bank stores its block one input column after the other, each for all outputs of its way. The operand buffer is used in
two halves: while the banks sweep one input column, the inputs of later ones arrive, and only the first is waited
for. The sums of all outputs and token-rows stay in the result buffer until the end of the pass; token-rows whose sums do not fit
make another pass that reads every column again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from papisim.devices.pim.mapping.phases import NO_SWEEP, Geometry, Moves, Phase, Placed, Program, Run
from papisim.ops.kernel import Linear


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


def block(geometry: Geometry, k: int, n: int, elements: int) -> Block:
    """Cut a ``(k, n)`` weight over the stacks.

    The best cut for one token-row with its columns, inputs and results in series. It must not depend on the token-rows
    of a kernel, because weights never move.
    """
    per_k, per_n = geometry.banks * elements, geometry.channels * geometry.ways
    column_cycles, burst = geometry.turns * geometry.column_gap, geometry.burst
    best, best_cycles = None, 0
    for cuts_k, cuts_n in _cuts(geometry.count):
        deep, outputs = -(-k // (cuts_k * per_k)), -(-n // (cuts_n * per_n))
        bursts = deep * geometry.banks + geometry.path_ways * -(-outputs // elements)
        cycles = deep * outputs * column_cycles + bursts * burst
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
    elements = geometry.elements(kernel.element_bytes)
    cut = block(geometry, kernel.k, kernel.n, elements)
    passes = _passes(geometry, cut, kernel.m, elements)
    program = _program(geometry, cut, -(-kernel.m // passes), passes, elements)
    channels = cut.cuts_k * cut.cuts_n * geometry.channels
    return Placed(program, geometry.activity(program, channels, geometry.uses(-(-kernel.m // passes), elements)))


def _passes(geometry: Geometry, cut: Block, m: int, elements: int) -> int:
    """Return how often the weight is read: as seldom as the buffers allow, or once more if that fills the FPUs better.

    A result buffer too small for the sums of one token-row is taken to hold them all the same.
    """
    held = max(1, min(geometry.result_columns * elements // cut.outputs, geometry.operand_columns))
    fewest = -(-m // held)
    if fewest == 1:
        return 1

    def occupied(passes: int) -> int:
        return passes * geometry.occupancy(geometry.uses(-(-m // passes), elements))

    return min(fewest, fewest + 1, key=occupied)


def _program(geometry: Geometry, cut: Block, rows: int, passes: int, elements: int) -> Program:
    """Return all passes; the inputs of the next and the results of the last move beside the banks' sweep."""
    column_in = rows * geometry.banks
    results = geometry.path_ways * -(-cut.outputs * rows // elements)
    later = geometry.sweep((cut.deep - 1) * cut.outputs, rows, elements)
    final = geometry.sweep(cut.outputs, rows, elements)

    def one_pass(leaving: int, arriving: int) -> tuple[Phase, Phase]:
        return Phase(later, Moves(leaving, (cut.deep - 1) * column_in)), Phase(final, Moves(0, arriving))

    opening, closing = Phase(NO_SWEEP, Moves(operands_in=column_in)), Phase(NO_SWEEP, Moves(results))
    if passes == 1:
        return [opening, *one_pass(0, 0), closing]
    middle = Run(one_pass(results, column_in), passes - 2)
    return [opening, *one_pass(0, column_in), middle, *one_pass(results, 0), closing]
