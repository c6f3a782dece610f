"""Score, softmax and context on PIM stacks (PAPI, Section 6.4).

A (request, KV head) pair goes to ``channels_per_head`` channels of one stack; pairs beyond the channels of the pool
come in rounds. Kᵀ and V are split by tokens over the ways and by head dimension over banks and lanes, so score and
context of equal widths read equally many columns; of a latent cache, of which V is a part, the context reads that part again. Every query row of the pair (query heads of its group × draft tokens) uses a column
while it is open; rows beyond the result buffer make another visit that reads K and V again.

Visits of one channel are pipelined: the logic die works on the softmax of one while the banks score the next.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from papisim.devices.numbers import Whole, each, larger, whole
from papisim.devices.pim.energy import Activity
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
    in_turns,
)
from papisim.devices.pim.timing import Sweep
from papisim.ops.kernel import Attention


class Widths(NamedTuple):
    """Widths of the heads of a cache."""

    key: int
    value: int


class Visit(NamedTuple):
    """One pair's cache, read once for as many query rows as the buffers hold.

    Attributes:
        keys: sweep of the banks for the score.
        values: sweep of the banks for the context.
        query: bursts of query vectors in.
        scores: bursts of scores out, and of their softmax back in.
        softmax: cycles of the vector unit.
        context: bursts of partial context vectors out; the bank groups of a rank add theirs on the way.
    """

    keys: Sweep
    values: Sweep
    query: int
    scores: Whole
    softmax: Whole
    context: int


def query_rows(kernel: Attention) -> int:
    """Return the query rows per cached token of a pair: all pairs of the batch over its tokens, rounded up."""
    group = kernel.n_heads / kernel.n_kv_heads
    return max(1, ceil(round(kernel.pairs * group / kernel.kv_tokens, 6)))


def visit(geometry: Geometry, widths: Widths, tokens: Whole, rows: int, columns: Columns) -> Visit:
    """Return the visit to a cache of ``tokens`` tokens with ``rows`` query rows."""
    elements, (head_dim, value_dim) = columns.elements, widths
    deep = -(-head_dim // (geometry.banks * elements))
    own = -(-tokens // (geometry.ways * geometry.channels_per_head))
    flop = Attention.SOFTMAX_FLOP * tokens * rows / geometry.channels_per_head
    keys, values = geometry.sweep(_cache_columns(geometry, head_dim, own, columns), rows, columns), NO_SWEEP
    if value_dim:
        alike = value_dim == head_dim
        values = keys if alike else geometry.sweep(_cache_columns(geometry, value_dim, own, columns), rows, columns)
    return Visit(
        keys=keys,
        values=values,
        query=deep * rows * geometry.banks,
        scores=geometry.path_ways * -(-own * rows // elements),
        softmax=whole(flop / geometry.logic_flop_per_cycle),
        context=geometry.path_ways // geometry.bank_groups * -(-value_dim // elements) * rows,
    )


def _cache_columns(geometry: Geometry, head_dim: int, tokens: Whole, columns: Columns) -> Whole:
    """Return the columns that the keys, or values, of ``tokens`` tokens take in each bank of a way.

    Packed so far that a head does not fill the columns of a way, several tokens share them.
    """
    across = geometry.banks * columns.stored
    together = max(1, across // head_dim) if columns.stored > columns.elements else 1
    return -(-head_dim // across) * -(-tokens // together)


class AttentionPlacement(NamedTuple):
    """Placement of the attention of a batch on a pool: everything that its programs depend on but the tokens.

    Attributes:
        widths: widths of K and V.
        columns: what columns hold.
        rows: query rows of a visit.
        visits: visits of a channel.
    """

    widths: Widths
    columns: Columns
    rows: int
    visits: int

    def program(self, geometry: Geometry, tokens: Whole) -> Program:
        """Return the program of a channel that visits caches of ``tokens`` tokens each."""
        program = pipeline(visit(geometry, self.widths, tokens, self.rows, self.columns), self.visits)
        return program if geometry.overlap else in_turns(program, geometry.turnaround)

    def activity(self, geometry: Geometry, program: Program, channels: float) -> Activity:
        """Return the activity of ``channels`` channels that each run a program, the logic die aside."""
        return geometry.activity(program, channels, self.rows * self.columns.stored)


def lay_out(geometry: Geometry, kernel: Attention) -> tuple[AttentionPlacement, int, float]:
    """Return the placement of a batch, the number of rounds, and the mean number of channels with work in a round."""
    columns = geometry.columns(kernel.element_bytes, kernel.kv, kernel.head_dim)
    rows, n_visits = rows_of_a_visit(geometry, kernel, columns.elements)
    n_pairs = kernel.n_requests * kernel.n_kv_heads
    rounds = -(-n_pairs // max(1, geometry.count * geometry.channels // geometry.channels_per_head))
    placement = AttentionPlacement(Widths(kernel.head_dim, kernel.value_width), columns, rows, rounds * n_visits)
    return placement, rounds, n_pairs / rounds * geometry.channels_per_head


def held_tokens(kv_tokens: Whole, longest_kv: Whole, n_requests: int, rounds: int) -> tuple[Whole, Whole]:
    """Return the tokens of a mean cache, and those of each cache that the busiest channel visits.

    Lengths of requests are known by their sum and maximum: the busiest channel is taken to hold the longest cache
    or its fair share of all tokens, whichever is more.
    """
    mean = -(-kv_tokens // n_requests)
    return mean, larger(mean, -(-longest_kv // rounds))


def softmax_flop(kernel: Attention, pairs: Whole) -> Whole:
    """Return the operations of the logic dies over (query, key) pairs."""
    return pairs * (kernel.n_heads * Attention.SOFTMAX_FLOP)


def place_attention(geometry: Geometry, kernel: Attention) -> Placed:
    """Place the attention of a batch on the pool."""
    placement, rounds, channels = lay_out(geometry, kernel)
    mean, busiest = held_tokens(kernel.kv_tokens, kernel.longest_kv, kernel.n_requests, rounds)
    program = placement.program(geometry, busiest)
    typical = program if busiest == mean else placement.program(geometry, mean)
    activity = placement.activity(geometry, typical, channels)
    return Placed(program, activity._replace(logic_flop=each(softmax_flop(kernel, kernel.pairs))))


def rows_of_a_visit(geometry: Geometry, kernel: Attention, elements: int) -> tuple[int, int]:
    """Return the query rows of one visit and the visits to each pair."""
    rows = query_rows(kernel)
    deep = -(-kernel.head_dim // (geometry.banks * elements))
    held = max(1, min(geometry.result_bytes // geometry.column_bytes, geometry.operand_columns // 2) // deep)
    held = min(held, geometry.query_reuse_rows or held)
    visits = -(-rows // held)
    return -(-rows // visits), visits


def pipeline(one: Visit, times: int) -> Program:
    """Return the program of ``times`` equal visits: score 1, score 2, context 1, score 3, context 2, … context n.

    While the banks score one visit, the scores before it are in the softmax unit, so only the first query, the last
    context and the softmax of a lone visit are not hidden.
    """
    query, context = Moves(operands_in=one.query), Moves(results_out=one.context)
    softmax = Moves(softmax=one.softmax, scores_in=one.scores)
    opening, closing = ChannelPhase(NO_SWEEP, query), ChannelPhase(NO_SWEEP, context)
    if times == 1:
        score, last = ChannelPhase(one.keys, Moves(results_out=one.scores)), ChannelPhase(one.values, NO_MOVES)
        return [opening, score, ChannelPhase(NO_SWEEP, softmax), last, closing]
    program: list[ChannelPhase | Repeat] = [
        opening,
        ChannelPhase(one.keys, Moves(results_out=one.scores, operands_in=one.query)),
        ChannelPhase(one.keys, softmax._replace(results_out=one.scores)),
    ]
    if times > 2:  # noqa: PLR2004
        before = ChannelPhase(one.values, softmax._replace(operands_in=one.query))
        after = ChannelPhase(one.keys, Moves(results_out=one.scores + one.context))
        program.append(Repeat((before, after), times - 2))
    return [*program, ChannelPhase(one.values, softmax), ChannelPhase(one.values, context), closing]
