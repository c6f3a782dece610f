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
    rng = stream(routing.seed, "router", routed.layer, routed.rows)
    scores = rng.random((routed.rows, routed.n_experts))
    if not routing.is_balanced:
        # uniform numbers as exponential ones of rate 1, the smallest of which over a popularity is drawn first
        scores = -np.log1p(-scores) / _popularity(routing, routed)
    chosen = scores.argpartition(routed.experts_per_token - 1, axis=1)[:, : routed.experts_per_token]
    if routing.repeat_ratio and routed.rows > routed.requests:
        draws = stream(routing.seed, "draft router", routed.layer, routed.rows)
        chosen = chosen[_as_before(draws.random(routed.rows) < routing.repeat_ratio, routed.requests)]
    counts = np.bincount(chosen.ravel(), minlength=routed.n_experts)
    return tuple(counts.tolist())


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
