"""Co-scheduling: choose the drafts and, through them, the placement of the FC kernels. papisim's own policy.

An iteration that drafts s_i tokens for request i is expected to emit Σ E(α_i, s_i) tokens and takes the time that the cost
model says, with each FC kernel where the machine's placement policy puts it for that many rows. The policy drafts what
has most expected tokens per second:

    max over s_1 … s_b of  Σ E(α_i, s_i) / price(s_1 … s_b),      E(α, s) = 1 + α + … + α^s.

The price depends on the drafts only through their sum (rows to verify) and their longest (serial draft steps). For a given
sum and longest, the most is emitted by giving rows one by one to the request that gains most, α_i^(s_i + 1), since gains
only fall; so the search runs over sums and longest lengths, not over b-tuples. Prices are kept in a table until the batch or the price
of an iteration without drafts changes. α_i is the request's own
acceptance, shrunk to that of all requests, which is shrunk to a prior.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from papisim.config.base import Count, Fraction, Positive
from papisim.kinds import Example
from papisim.policies.speculation.acceptance_estimate import AcceptanceEstimate, drafts_decided, expected_emitted
from papisim.policies.speculation.base import NO_DRAFT, BoundedOptions, Draft, PerRequest, Round, SpeculationView


class Options(BoundedOptions):
    """Hyper-parameters.

    Attributes:
        max_length: longest draft to consider.
        per_request: give each request a length of its own; else all draft the same.
        sums_tried: number of sums of drafts that are tried for each longest draft, evenly spaced; it bounds the search.
        decay: weight that past rounds keep in each round.
        prior_acceptance: α before any draft.
        prior_tokens: drafts that the prior counts as much as.
        price_drift: share by which the price of an iteration without drafts may move before all prices are asked for again.
    """

    kind: Literal["co_scheduled"]
    per_request: bool
    sums_tried: Count
    decay: Fraction
    prior_acceptance: Fraction
    prior_tokens: Positive
    price_drift: Fraction


EXAMPLE = Example("co_scheduled")


class Gain(NamedTuple):
    """One more draft: the tokens it is expected to emit, its depth in its chain, and its request's place in the batch."""

    tokens: float
    depth: int
    place: int


class Prices:
    """Seconds of iterations of one batch size by the sum of drafts and the longest, each asked for once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], float] = {}
        self._batch, self._plain_s = 0, 0.0

    def renew(self, view: SpeculationView, drift: float) -> None:
        """Forget the prices if the batch has another size, or an iteration without drafts another price than when they were asked for."""
        plain_s = view.price_s([NO_DRAFT] * view.rlp)
        if view.rlp != self._batch or abs(plain_s - self._plain_s) > drift * self._plain_s:
            self._known, self._batch, self._plain_s = {(0, 0): plain_s}, view.rlp, plain_s

    def price_s(self, view: SpeculationView, drafts: Sequence[Draft]) -> float:
        """Return the seconds of an iteration with drafts."""
        key = sum(draft.length for draft in drafts), max(draft.length for draft in drafts)
        if key not in self._known:
            self._known[key] = view.price_s(drafts)
        return self._known[key]


class Speculation(PerRequest[AcceptanceEstimate]):
    """The drafts with most expected tokens per second; the fewest of equals."""

    learns_from_all = True

    def __init__(self, options: Options) -> None:
        super().__init__(lambda: AcceptanceEstimate(options.decay))
        self._options = options
        self._drafts = [Draft(length) for length in range(options.max_length + 1)]
        self._all = AcceptanceEstimate(options.decay)
        self._prices = Prices()

    def acceptance(self, request_id: int) -> float:
        """Return the estimate of a request's α."""
        options = self._options
        average = self._all.acceptance(options.prior_acceptance, options.prior_tokens)
        return self.state(request_id).acceptance(average, options.prior_tokens)

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Search the drafts for the largest rate."""
        self._prices.renew(view, self._options.price_drift)
        best = [NO_DRAFT] * view.rlp
        best_rate = view.rlp / self._prices.price_s(view, best)
        acceptance = [self.acceptance(request_id) for request_id in view.requests]
        gains = self._gains(acceptance)
        for longest in range(1, self._options.max_length + 1):
            most = sum(expected_emitted(alpha, longest) for alpha in acceptance)
            for lengths, emitted in self._allocations([gain for gain in gains if gain.depth <= longest], view.rlp):
                drafts = [self._drafts[length] for length in lengths]
                price_s = self._prices.price_s(view, drafts)
                if emitted / price_s > best_rate:
                    best, best_rate = drafts, emitted / price_s
                elif most / price_s <= best_rate:  # more rows do not take less time: nothing to gain from here on
                    break
        return best

    def _gains(self, acceptance: Sequence[float]) -> list[Gain]:
        """Return the tokens that each further draft of each request is expected to emit, most first, and nearer ones first of equals."""
        gains = [
            Gain(alpha**depth, depth, place)
            for depth in range(1, self._options.max_length + 1)
            for place, alpha in enumerate(acceptance)
        ]
        return sorted(gains, key=lambda gain: -gain.tokens)

    def _allocations(self, gains: Sequence[Gain], rlp: int) -> Iterator[tuple[list[int], float]]:
        """Yield draft lengths by ascending sum, and the tokens expected of each, until all gains are taken."""
        options = self._options
        # the same sums for every longest draft and in every iteration, so that their prices are known
        step = math.ceil(rlp * options.max_length / options.sums_tried) if options.per_request else len(gains)
        lengths, emitted = [0] * rlp, float(rlp)
        for total, gain in enumerate(gains, 1):
            lengths[gain.place] = gain.depth
            emitted += gain.tokens
            if total % step == 0 or total == len(gains):
                yield list(lengths), emitted

    def observe(self, rounds: Sequence[Round]) -> None:
        """Count what became of the drafts, for each request and for all."""
        super().observe(rounds)
        self._all.observe(sum(seen.accepted for seen in rounds), sum(drafts_decided(seen) for seen in rounds))

    def learn(self, state: AcceptanceEstimate, seen: Round) -> None:
        """Count what became of one draft."""
        state.observe(seen.accepted, drafts_decided(seen))
