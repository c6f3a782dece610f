"""Score, softmax and context on PIM stacks (PAPI, Section 6.4).

A (request, KV head) pair goes to ``channels_per_head`` channels of one stack; pairs beyond the channels of the pool
come in rounds. Kᵀ and V are split by tokens over the ways and by head dimension over banks and lanes, so score and
context read equally many columns. Every query row of the pair (query heads of its group × draft tokens) uses a column
while it is open; rows beyond the result buffer make another visit that reads K and V again.

Visits of one channel are pipelined: the logic die works on the softmax of one while the banks score the next.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np

from papisim.devices.either import larger, whole
from papisim.devices.pim.mapping.phases import (
    NO_MOVES,
    NO_SWEEP,
    Geometry,
    Moves,
    Phase,
    Placed,
    Program,
    Run,
    in_turns,
)
from papisim.devices.pim.timing import Sweep, Whole
from papisim.ops.kernel import Attention


class Visit(NamedTuple):
    """One pair's cache, read once for as many query rows as the buffers hold.

    Attributes:
        sweep: what the banks do for the score, and again for the context.
        query: bursts of query vectors in.
        scores: bursts of scores out, and of their softmax back in.
        softmax: cycles of the vector unit.
        context: bursts of partial context vectors out; the bank groups of a rank add theirs on the way.
    """

    sweep: Sweep
    query: int
    scores: Whole
    softmax: Whole
    context: int


def query_rows(kernel: Attention) -> int:
    """Return how many query rows use each cached token of a pair: all pairs of the batch over its tokens, rounded up."""
    group = kernel.n_heads / kernel.n_kv_heads
    rows = kernel.pairs * group / kernel.kv_tokens
    return max(1, ceil(round(rows[0] if isinstance(rows, np.ndarray) else rows, 6)))


def visit(geometry: Geometry, head_dim: int, tokens: Whole, rows: int, elements: int) -> Visit:
    """Return the visit to a cache of ``tokens`` tokens with ``rows`` query rows."""
    deep = -(-head_dim // (geometry.banks * elements))
    own = -(-tokens // (geometry.ways * geometry.channels_per_head))
    flop = Attention.SOFTMAX_FLOP * tokens * rows / geometry.channels_per_head
    return Visit(
        sweep=geometry.sweep(deep * own, rows, elements),
        query=deep * rows * geometry.banks,
        scores=geometry.path_ways * -(-own * rows // elements),
        softmax=whole(flop / geometry.logic_flop_per_cycle),
        context=geometry.path_ways // geometry.bank_groups * -(-head_dim // elements) * rows,
    )


def place_attention(geometry: Geometry, kernel: Attention) -> Placed:
    """Place the attention of a batch on the pool.

    Lengths of requests are known by their sum and maximum: the busiest channel is taken to hold the longest cache
    or its fair share of all tokens, whichever is more. Lengths may be arrays, if query rows are the same for all.
    """
    elements = geometry.elements(kernel.element_bytes)
    rows, n_visits = rows_of_a_visit(geometry, kernel, elements)
    n_pairs = kernel.n_requests * kernel.n_kv_heads
    rounds = -(-n_pairs // max(1, geometry.count * geometry.channels // geometry.channels_per_head))
    mean = -(-kernel.kv_tokens // kernel.n_requests)
    busiest = larger(mean, -(-kernel.longest_kv // rounds))
    program = _program(geometry, visit(geometry, kernel.head_dim, busiest, rows, elements), rounds * n_visits)
    typical = program
    if isinstance(mean, np.ndarray) or busiest != mean:
        typical = _program(geometry, visit(geometry, kernel.head_dim, mean, rows, elements), rounds * n_visits)
    channels = n_pairs / rounds * geometry.channels_per_head
    activity = geometry.activity(typical, channels, geometry.uses(rows, elements))
    flop = kernel.pairs * kernel.n_heads * Attention.SOFTMAX_FLOP
    return Placed(program, activity._replace(logic_flop=flop))


def rows_of_a_visit(geometry: Geometry, kernel: Attention, elements: int) -> tuple[int, int]:
    """Return the query rows of one visit and the visits to each pair."""
    rows = query_rows(kernel)
    deep = -(-kernel.head_dim // (geometry.banks * elements))
    held = max(1, min(geometry.result_columns, geometry.operand_columns // 2) // deep)
    held = min(held, geometry.query_reuse_rows or held)
    visits = -(-rows // held)
    return -(-rows // visits), visits


def _program(geometry: Geometry, one: Visit, times: int) -> Program:
    """Return the program of equal visits, in turns where moves and MACs share a bus."""
    program = pipeline(one, times)
    return program if geometry.overlap else in_turns(program, geometry.turnaround)


def pipeline(one: Visit, times: int) -> Program:
    """Return the program of ``times`` equal visits: score 1, score 2, context 1, score 3, context 2, … context n.

    While the banks score one visit, the scores before it are in the softmax unit, so only the first query, the last
    context and the softmax of a lone visit stand in the open.
    """
    query, context = Moves(operands_in=one.query), Moves(results_out=one.context)
    softmax = Moves(softmax=one.softmax, scores_in=one.scores)
    opening, closing = Phase(NO_SWEEP, query), Phase(NO_SWEEP, context)
    if times == 1:
        score, last = Phase(one.sweep, Moves(results_out=one.scores)), Phase(one.sweep, NO_MOVES)
        return [opening, score, Phase(NO_SWEEP, softmax), last, closing]
    program: list[Phase | Run] = [
        opening,
        Phase(one.sweep, Moves(results_out=one.scores, operands_in=one.query)),
        Phase(one.sweep, softmax._replace(results_out=one.scores)),
    ]
    if times > 2:  # noqa: PLR2004
        before = Phase(one.sweep, softmax._replace(operands_in=one.query))
        after = Phase(one.sweep, Moves(results_out=one.scores + one.context))
        program.append(Run((before, after), times - 2))
    return [*program, Phase(one.sweep, softmax), Phase(one.sweep, context), closing]
