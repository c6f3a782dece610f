"""Which experts the tokens of a mixture-of-experts layer go to.

Each row goes to ``k`` distinct experts. Balanced, all are equally likely: the balance that a router is trained for (Shazeer et
al., 2017), and ``E·(1 − (1 − k/E)^rows)`` of ``E`` experts are awake on average. Skewed, they are drawn one after another in
proportion to their popularity, without replacement: the ``k`` largest of ``log popularity + Gumbel noise`` (Efraimidis and
Spirakis, 2006). Tokens that are verified together belong to one text: with a given probability a draft goes to the experts of
the token before it, so that verification wakes fewer experts than independent rows would.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from papisim.arrays import Bools, Floats, Ints
from papisim.ops.kernel import Group
from papisim.ops.router_log import RouterLog
from papisim.streams import stream


class Routing(NamedTuple):
    """How tokens choose experts.

    Attributes:
        seed: seed of the draws.
        zipf_exponent: exponent of the experts' popularity over their rank, which is drawn for each layer; 0 is balanced.
        popularity: popularity of each expert of every layer, as in a log of a router; None without.
        repeat_ratio: probability that a draft goes to the experts of the token before it.
        log: log of a router, whose popularities are by layer; None without.
    """

    seed: int = 0
    zipf_exponent: float = 0.0
    popularity: tuple[float, ...] | None = None
    repeat_ratio: float = 0.0
    log: RouterLog | None = None

    @property
    def is_balanced(self) -> bool:
        """Whether all experts are equally likely."""
        return self.popularity is None and self.log is None and not self.zipf_exponent


class Spread(NamedTuple):
    """The ranks that experts are dealt out to.

    Attributes:
        ranks: number of them.
        copies: further copies of experts of a layer, in addition to one of each.
        senders: token-rows that each rank has before they are sent to experts, in the order of the rows; empty where every rank
            has all rows and nothing is sent.
        node_ranks: ranks of a node; 0 if one node has all.
    """

    ranks: int
    copies: int = 0
    senders: tuple[int, ...] = ()
    node_ranks: int = 0


class Traffic(NamedTuple):
    """Token-rows that cross from rank to rank on their way to experts; on their way back directions are exchanged.

    Attributes:
        inner: rows that the busiest rank sends or receives within its node, the larger of both.
        outer: the same between nodes.
        inner_total: rows of all ranks within nodes.
        outer_total: rows of all ranks between nodes.
    """

    inner: int
    outer: int
    inner_total: int
    outer_total: int


class RankLoads(NamedTuple):
    """The token-rows of a layer on the ranks of its experts.

    Attributes:
        rows: rows of each expert of each rank; copies of an expert count apart.
        once_per_expert: what is sent if a row goes to each of its experts by itself; None where nothing is sent.
        once_per_rank: what is sent if a row goes once to each rank that has experts for it.
    """

    rows: tuple[tuple[int, ...], ...]
    once_per_expert: Traffic | None = None
    once_per_rank: Traffic | None = None


class Routed(NamedTuple):
    """Token-rows that are routed in a layer, and the experts there.

    Attributes:
        layer: the layer.
        rows: token-rows.
        requests: requests that the rows are dealt out to as evenly as whole numbers allow; each has its drafts in a row.
        n_experts: experts of the layer.
        experts_per_token: experts of a row.
    """

    layer: int
    rows: int
    requests: int
    n_experts: int
    experts_per_token: int


@lru_cache(maxsize=65536)
def tokens_per_expert(routing: Routing, routed: Routed) -> tuple[int, ...]:
    """Draw how many token-rows each expert of a layer receives.

    The draw depends on the routing, the layer and the rows alone, so equal iterations meet equal loads.

    Returns:
        Rows of each expert; they sum to ``rows · experts_per_token``.

    Raises:
        ValueError: the popularity is not that of as many experts as the layer has.
    """
    counts = np.bincount(_chosen(routing, routed).ravel(), minlength=routed.n_experts)
    return tuple(counts.tolist())


def _chosen(routing: Routing, routed: Routed) -> Ints:
    """Draw the experts of each token-row, shape (rows, experts per token)."""
    rng = stream(routing.seed, "router", routed.layer, routed.rows)
    scores = rng.random((routed.rows, routed.n_experts))
    if not routing.is_balanced:
        # uniform numbers as exponential ones of rate 1, the smallest of which over a popularity is drawn first; over one
        # that is next to nothing it exceeds all numbers, and is drawn last
        with np.errstate(over="ignore"):
            scores = -np.log1p(-scores) / _popularity(routing, routed)
    chosen = scores.argpartition(routed.experts_per_token - 1, axis=1)[:, : routed.experts_per_token]
    if routing.repeat_ratio and routed.rows > routed.requests:
        draws = stream(routing.seed, "draft router", routed.layer, routed.rows)
        chosen = chosen[_as_before(draws.random(routed.rows) < routing.repeat_ratio, routed.requests)]
    return np.asarray(chosen)


@lru_cache(maxsize=16384)
def rank_loads(routing: Routing, routed: Routed, spread: Spread) -> RankLoads:
    """Return the token-rows of the experts of each rank, of the draw of :func:`tokens_per_expert`, and the traffic between ranks.

    Rows of an expert with several copies are dealt out to the copies in turn.

    Raises:
        ValueError: the popularity is not that of as many experts as the layer has.
    """
    firsts, numbers, ranks = _slots(routing, routed._replace(rows=0, requests=0), spread.ranks, spread.copies)
    chosen = _chosen(routing, routed)
    turns = np.arange(routed.rows, dtype=np.int64)[:, None]
    slots = firsts[chosen] + turns % numbers[chosen]
    counts = np.bincount(slots.ravel(), minlength=len(ranks))
    rows = tuple(tuple(counts[ranks == rank].tolist()) for rank in range(spread.ranks))
    if not spread.senders:
        return RankLoads(rows)
    sources = np.repeat(np.arange(len(spread.senders), dtype=np.int64), spread.senders)[:, None]
    pairs = sources * spread.ranks + ranks[slots]
    distinct = np.sort(ranks[slots], axis=1)
    is_first = np.diff(distinct, axis=1, prepend=-1) > 0
    once = (sources * spread.ranks + distinct)[is_first]
    return RankLoads(rows, _traffic(pairs.ravel(), spread), _traffic(once, spread))


def _traffic(pairs: Ints, spread: Spread) -> Traffic:
    """Return the rows that cross, from the number ``source · ranks + destination`` of each row that is sent."""
    ranks = spread.ranks
    rows = np.bincount(pairs, minlength=ranks * ranks).reshape(ranks, ranks)
    node = np.arange(ranks) // (spread.node_ranks or ranks)
    is_inner = node[:, None] == node
    outer = np.where(is_inner, 0, rows)
    inner = np.where(is_inner, rows, 0)
    np.fill_diagonal(inner, 0)
    return Traffic(_busiest(inner), _busiest(outer), int(inner.sum()), int(outer.sum()))


def _busiest(rows: Ints) -> int:
    return int(max(rows.sum(axis=1).max(), rows.sum(axis=0).max()))


@lru_cache(maxsize=1024)
def _slots(routing: Routing, routed: Routed, ranks: int, copies: int) -> tuple[Ints, Ints, Ints]:
    """Place the experts of a layer, and their further copies, on ranks.

    Without copies, experts lie in order and ranks differ by one at most. Each further copy is one of the expert that then has the
    most rows per copy; copies are placed most rows first on the rank with the fewest that has a place left (the replication and
    packing of DeepSeek's EPLB, 2025). Both go by popularity, so that balanced routing copies the first experts.

    Returns:
        The first copy of each expert, and its number of copies, shape (experts,); the rank of each copy, shape (experts + copies,).
    """
    n_experts = routed.n_experts
    numbers = np.ones(n_experts, dtype=np.int64)
    if not copies:
        shares = np.full(ranks, n_experts // ranks) + (np.arange(ranks) < n_experts % ranks)
        return np.arange(n_experts), numbers, np.repeat(np.arange(ranks), shares)
    popularity = np.ones(n_experts) if routing.is_balanced else _popularity(routing, routed)
    for _ in range(copies):
        numbers[(popularity / numbers).argmax()] += 1
    loads = np.repeat(popularity / numbers, numbers)
    places, filled, homes = (
        np.full(ranks, -(-len(loads) // ranks)),
        np.zeros(ranks),
        np.zeros(len(loads), dtype=np.int64),
    )
    for slot in np.argsort(-loads, kind="stable"):
        rank = np.where(places > 0, filled, np.inf).argmin()
        homes[slot], filled[rank], places[rank] = rank, filled[rank] + loads[slot], places[rank] - 1
    return np.cumsum(numbers) - numbers, numbers, homes


def most_experts(n_experts: int, spread: Spread) -> int:
    """Return the experts of a layer, copies included, that the fullest rank holds."""
    return -(-(n_experts + spread.copies) // spread.ranks)


def _popularity(routing: Routing, routed: Routed) -> Floats:
    """Return the popularity of each expert of a layer; experts that no row of the log went to are all but never chosen."""
    shares = routing.popularity if routing.log is None else routing.log.popularity(routed.layer, routed.n_experts)
    if shares is None:
        order = stream(routing.seed, "popularity", routed.layer).permutation(routed.n_experts)
        return np.asarray((order + 1.0) ** -routing.zipf_exponent)
    if len(shares) != routed.n_experts:
        raise ValueError(f"found the popularity of {len(shares)} experts, the model has {routed.n_experts}")
    return np.maximum(np.asarray(shares) / sum(shares), np.finfo(np.float64).tiny)


def _as_before(repeats: Bools, requests: int) -> Ints:
    """Return for each row the row whose experts it goes to: its own, or that of the last token that chose anew."""
    rows = len(repeats)
    firsts = -(-np.arange(requests) * rows // requests)
    repeats[firsts] = False
    own = np.where(repeats, 0, np.arange(rows, dtype=np.int64))
    return np.asarray(np.maximum.accumulate(own))


def awake_experts(rows: float, n_experts: int, experts_per_token: int) -> float:
    """Return the mean number of experts that balanced rows wake: ``E·(1 − (1 − k/E)^rows)``."""
    return float(n_experts * (1 - (1 - experts_per_token / n_experts) ** rows))


def even_groups(rows: int, n_experts: int, experts_per_token: int) -> tuple[Group, ...]:
    """Return the experts that balanced rows are expected to wake, with equal shares of the rows up to one."""
    awake = max(1, round(awake_experts(rows, n_experts, experts_per_token)))
    each, more = divmod(rows * experts_per_token, awake)
    return tuple(
        group for group in (Group(each, awake - more), Group(each + 1, more)) if group.rows and group.products
    )
