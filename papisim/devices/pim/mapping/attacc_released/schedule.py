"""Attention as AttAcc's released trace generator schedules it, quirks included: to compare with its simulator.

One head-request per channel; head-requests beyond the channels of a stack come in rounds. Rounds are taken two at a time and
software-pipelined: score of both, context of both; an odd last round runs on its own with its softmax in the open. The
generator's quirks that matter to time or traffic are kept:

* the context of the second head of a pair repeats the MACs of the first, so it may find its row open;
* heads lie a fixed distance apart, which long caches outgrow, so a head may start in the row that another left open;
* moves meant to overlap are dealt out in whole numbers over all channels, so a few are never issued;
* one MAC too many opens the first pair.

The generator knows one query token and no grouped queries: each query head of each request is a head-request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from papisim.config.base import Count, Positive, Spec
from papisim.devices.pim.commands import Command, Op
from papisim.devices.pim.energy import Activity
from papisim.devices.pim.mapping.phases import Geometry
from papisim.errors import NotModelled
from papisim.ops.kernel import Attention


class Generator(Spec):
    """The constants of the released generator and of the controller that reads its trace.

    Attributes:
        longest_kv: the cache length that heads are laid out for.
        values_at_bytes: where values start in each bank.
        queue_depth: commands of a channel that its controller sees at once.
    """

    longest_kv: Count
    values_at_bytes: Positive
    queue_depth: Count


class Section(NamedTuple):
    """The commands between two barriers in the queue of one channel.

    Attributes:
        before: moves ahead of the MACs, as (command, number).
        first_column: where in the banks' storage the MACs start.
        columns: number of MACs.
        behind: moves after the MACs.
    """

    before: tuple[tuple[Op, int], ...]
    first_column: int
    columns: int
    behind: tuple[tuple[Op, int], ...]


class Head(NamedTuple):
    """The sizes of one head-request.

    Attributes:
        deep: columns of one score output, and stretches of the context, in each bank.
        own: cached tokens of each way.
        batches: batches in which scores leave, a column's worth of outputs in each.
        width: outputs of a batch.
        query: moves that bring the query in.
        scores: moves of one batch of scores, and of one batch of softmax output back.
        context: moves of one stretch of the context.
        round_columns: columns between the keys of one round and those of the next.
        values_at: column at which values start.
    """

    deep: int
    own: int
    batches: int
    width: int
    query: int
    scores: int
    context: int
    round_columns: int
    values_at: int


def head(geometry: Geometry, generator: Generator, head_dim: int, tokens: int, element_bytes: int) -> Head:
    """Return the sizes of a head-request with ``tokens`` cached tokens."""
    width = geometry.elements(element_bytes)
    deep, own = -(-head_dim // (geometry.banks * width)), -(-tokens // geometry.ways)
    ranks = geometry.path_ways // geometry.bank_groups
    # the generator counts elements here and takes them for bytes
    round_bytes = -(-generator.longest_kv * head_dim // (geometry.ways * geometry.banks))
    return Head(
        deep=deep,
        own=own,
        batches=-(-own // width),
        width=width,
        query=geometry.banks * deep,
        scores=geometry.path_ways,
        context=geometry.banks * ranks,
        round_columns=round_bytes // geometry.column_bytes,
        values_at=int(generator.values_at_bytes) // geometry.column_bytes,
    )


class Plan(NamedTuple):
    """Attention on a pool as the generator lays it out: ``n_heads`` head-requests on the fullest stack."""

    one: Head
    n_heads: int
    channels: int
    stacks: float

    def sections(self) -> Iterator[Section]:
        """Yield the sections of the busiest channel."""
        return sections(self.one, self.n_heads, self.channels)

    def activity(self, geometry: Geometry) -> Activity:
        """Return the activity of all stacks; the second context of a pair runs on the channels of the first."""
        full, last = divmod(self.n_heads, self.channels)
        valid = [self.channels] * full + ([last] if last else [])
        paired = len(valid) - len(valid) % 2
        contexts = sum(
            valid[round_ - round_ % 2] if round_ < paired else valid[round_] for round_ in range(len(valid))
        )
        columns = self.one.deep * self.one.own
        stretches = self.n_heads + contexts
        banks = geometry.ways * geometry.banks * self.stacks
        rows = stretches * -(-columns // geometry.columns_per_row)
        macs = stretches * columns + (valid[0] if paired else 0)
        own = self.n_heads * (2 * self.one.scores * self.one.batches + self.one.deep * self.one.context)
        bursts = self.n_heads * self.one.query + own * geometry.pseudo_channels
        columns_read = macs * banks
        lanes = geometry.fpu.lanes
        return Activity(
            rows * banks, columns_read, columns_read * lanes, bursts * geometry.column_bytes * self.stacks
        )


def released_plan(geometry: Geometry, generator: Generator, kernel: Attention) -> Plan:
    """Lay a batch out as the generator does; all requests are taken to be as long as the longest.

    Raises:
        NotModelled: packed caches, several query tokens per request, or K and V of different widths, none of which the
            generator knows.
    """
    if kernel.kv is not None:
        raise NotModelled("packed caches with mapping attacc_released; mapping physical has them")
    if kernel.query_tokens != kernel.n_requests:
        raise NotModelled(
            "mapping attacc_released has one query token per request; use mapping=physical for TLP > 1 or prefill"
        )
    if kernel.value_width != kernel.head_dim or kernel.latent:
        raise NotModelled("K and V of different widths with mapping attacc_released; mapping physical has them")
    heads = kernel.n_requests * kernel.n_heads
    on_fullest = -(-heads // geometry.count)
    one = head(geometry, generator, kernel.head_dim, kernel.longest_kv, kernel.element_bytes)
    return Plan(one, on_fullest, geometry.channels, heads / on_fullest)


def sections(one: Head, n_heads: int, channels: int) -> Iterator[Section]:
    """Yield the sections of the busiest channel of a stack that holds ``n_heads`` head-requests."""
    rounds = -(-n_heads // channels)
    valid = [channels] * (rounds - 1) + [n_heads - (rounds - 1) * channels]
    leaving: tuple[tuple[Op, int], ...] = ()
    for index in range(0, rounds - 1, 2):
        yield from _pair(one, index, valid, leaving)
        leaving = ((Op.MOVE_RESULTS, one.context),)
    if rounds % 2:
        yield from _lone(one, rounds - 1, leaving)
        leaving = ((Op.MOVE_RESULTS, one.context),)
    yield Section(leaving, 0, 0, ())


def _pair(one: Head, index: int, valid: list[int], leaving: tuple[tuple[Op, int], ...]) -> Iterator[Section]:
    """Yield two rounds that overlap."""
    keys, values = index * one.round_columns, index * one.round_columns + one.values_at
    first, second = valid[index], valid[index + 1]
    yield Section((*leaving, (Op.WRITE_OPERANDS, one.query)), keys, 1 if index == 0 else 0, ())
    query = _dealt(one.query, second, one.batches, 0)
    for batch in range(one.batches):
        out = ((Op.MOVE_RESULTS, one.scores),) if batch else ()
        yield Section((), keys + batch * one.width * one.deep, _score_columns(one, batch), (*out, query[batch]))
    scores_back = _dealt(one.scores * one.batches, first, one.batches, one.batches // 2, Op.MOVE_SCORES)
    for batch in range(one.batches):
        start = keys + one.round_columns + batch * one.width * one.deep
        before = () if batch else ((Op.MOVE_RESULTS, one.scores),)
        out = ((Op.MOVE_RESULTS, one.scores),) if batch else ((Op.SOFTMAX, 1),)
        yield Section(before, start, _score_columns(one, batch), (*out, scores_back[batch]))
    scores_back = _dealt(one.scores * one.batches, second, one.deep, one.deep // 2, Op.MOVE_SCORES)
    for part in range(one.deep):
        before = () if part else ((Op.MOVE_RESULTS, one.scores),)
        out = ((Op.MOVE_RESULTS, one.context),) if part else ((Op.SOFTMAX, 1),)
        yield Section(before, values + part * one.own, one.own, (*out, scores_back[part]))
    for part in range(one.deep):
        before = () if part else ((Op.MOVE_RESULTS, one.context),)
        out = ((Op.MOVE_RESULTS, one.context),) if part else ()
        yield Section(before, values + part * one.own, one.own, out)


def _lone(one: Head, index: int, leaving: tuple[tuple[Op, int], ...]) -> Iterator[Section]:
    """Yield an odd last round, in which nothing overlaps."""
    keys, values = index * one.round_columns, index * one.round_columns + one.values_at
    yield Section((*leaving, (Op.WRITE_OPERANDS, one.query)), keys, 0, ())
    for batch in range(one.batches):
        out = ((Op.MOVE_RESULTS, one.scores),) if batch else ()
        yield Section((), keys + batch * one.width * one.deep, _score_columns(one, batch), out)
    back = (Op.MOVE_SCORES, one.scores * one.batches)
    yield Section(((Op.MOVE_RESULTS, one.scores), (Op.SOFTMAX, 1), back), 0, 0, ())
    for part in range(one.deep):
        out = ((Op.MOVE_RESULTS, one.context),) if part else ()
        yield Section((), values + part * one.own, one.own, out)


def _score_columns(one: Head, batch: int) -> int:
    return min(one.width, one.own - batch * one.width) * one.deep


def _dealt(moves: int, valid: int, parts: int, start: int, op: Op = Op.WRITE_OPERANDS) -> list[tuple[Op, int]]:
    """Deal ``moves`` of each of ``valid`` channels out over the parts from ``start`` on, as the generator does.

    It lists the moves channel by channel within each and takes equal whole strides of that list; the busiest channel is
    the first of each group, and the end of the list may be left out.
    """
    stride = moves * valid // (parts - start)
    dealt = []
    for part in range(parts):
        begin = min(max(part - start, 0) * stride, moves * valid)
        end = min(max(part - start + 1, 0) * stride, moves * valid)
        dealt.append((op, -(-end // valid) - -(-begin // valid)))
    return dealt


def released_stream(plan: Iterator[Section], geometry: Geometry) -> Iterator[Command]:
    """Yield every command of the sections; rows are closed and opened where the next column lies in another."""
    open_row = -1
    for section, (before, first_column, columns, behind) in enumerate(plan):
        yield from _moves(before, section, geometry)
        for column in range(first_column, first_column + columns):
            row = column // geometry.columns_per_row
            if row != open_row:
                if open_row >= 0:
                    yield Command(Op.PRECHARGE, section, 1, open_row)
                yield Command(Op.ACTIVATE, section, 1, row)
                open_row = row
            yield Command(Op.MAC, section, geometry.paced_gap, row)
        yield from _moves(behind, section, geometry)


def _moves(moves: tuple[tuple[Op, int], ...], section: int, geometry: Geometry) -> Iterator[Command]:
    for op, times in moves:
        yield from (Command(op, section, move_cycles(op, geometry)) for _ in range(times))


def move_cycles(op: Op, geometry: Geometry) -> int:
    """Return the cycles between moves of a kind: operands all go to one bank group, other moves to each in turn."""
    return geometry.column_gap if op is Op.WRITE_OPERANDS else geometry.burst
