"""DSDE: draft lengths from the stability of the KL divergence (arXiv:2509.01083; released code samsungds/DSDE).

A round gives its request the KLD of target from draft at every drafted position; :mod:`.kld_stability` turns the last
ones into a length SL between SL_min and SL_max. SL_max comes from a warm-up: the most tokens accepted in one of its rounds
× (1 + headroom · mean KLD / largest KLD). The cap limits every length to the batch's mean, because all requests wait for the
longest draft.

The variants share the formulae and differ in options and rounding: ``code`` rounds SL_max and SL to whole tokens, ``paper``
only what is drafted in the end. How long the paper warms up, and with what lengths, is not known; both variants do as the code
does: until the long window is full, doubling after full acceptance.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from pydantic import model_validator

from papisim.config.base import Count, Fraction, NonNegative, Positive, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Draft, PerRequest, Round, SpeculationView
from papisim.policies.speculation.kld_stability import predicted_length, variance_ratio


class Options(BoundedOptions):
    """Hyper-parameters.

    Attributes:
        variant: whose rounding.
        cap: limit lengths to the batch's mean.
        initial_length: drafts of a request's first round.
        min_length: the shortest draft; SL_min, where ``min_share`` is 0.
        max_length: the longest draft.
        min_share: SL_min as a share of SL_max, if that is longer than ``min_length``.
        short_window: newest KLDs in WVIR's numerator, in tokens.
        long_window: newest KLDs in its denominator, in tokens; also the length of the warm-up.
        decay: weight of a KLD against the next newer one.
        kld_factor: of μ in SF, per nat.
        headroom: weight of mean/largest KLD in SL_max.
        variance_floor: long-window variance below which WVIR is ``flat_wvir``.
        flat_wvir: WVIR of a history that does not vary.
        temperature: of sampling; μ is divided by it. 0 does not divide.
    """

    kind: Literal["dsde"]
    variant: Literal["paper", "code"]
    cap: bool
    initial_length: Width
    min_length: Width
    min_share: NonNegative
    short_window: Count
    long_window: Count
    decay: Fraction
    kld_factor: Positive
    headroom: NonNegative
    variance_floor: NonNegative
    flat_wvir: NonNegative
    temperature: NonNegative

    @model_validator(mode="after")
    def _in_order(self) -> Options:
        if not self.min_length <= self.initial_length <= self.max_length:
            lengths = (self.min_length, self.initial_length, self.max_length)
            raise ValueError(f"found lengths {lengths}, expected min_length ≤ initial_length ≤ max_length")
        return self

    def clip(self, length: float) -> float:
        """Return a length within the limits."""
        return max(self.min_length, min(self.max_length, length))

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset({"kld"})


EXAMPLE = Example("dsde")


@dataclass
class History:
    """What a request's rounds have said: KLDs newest first, the warm-up's accepted lengths, and SL."""

    klds: deque[float]
    wanted: float
    warm_up_accepted: list[int] = field(default_factory=list)
    limits: tuple[float, float] | None = None  # SL_min and SL_max; none before the warm-up ends


class Speculation(PerRequest[History]):
    """Each request has a length of its own; the cap joins them."""

    def __init__(self, options: Options) -> None:
        super().__init__(lambda: History(deque(maxlen=options.long_window), options.initial_length))
        self._options, self.learns_from_all = options, options.cap

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft each request's SL, capped by the mean over the requests that have ended their warm-up."""
        states = [self.state(request_id) for request_id in view.requests]
        wanted = self._wanted(states, view.tokens_left)
        settled = [length for length, state in zip(wanted, states, strict=True) if state.limits]
        cap = fmean(settled) if self._options.cap and settled else math.inf
        lengths = [min(length, cap) if state.limits else length for length, state in zip(wanted, states, strict=True)]
        return [Draft(math.ceil(length)) for length in lengths]

    def _wanted(self, states: Sequence[History], tokens_left: Sequence[int]) -> list[float]:
        """Return each request's length; the released code limits it to the tokens that the request has left, the paper does not."""
        wanted = [state.wanted for state in states]
        if self._options.variant != "code" or not tokens_left:
            return wanted
        return [min(length, left) for length, left in zip(wanted, tokens_left, strict=True)]

    def learn(self, state: History, seen: Round) -> None:
        """Add the round's KLDs to the past, and predict the next length."""
        if not seen.kld:
            return
        before = list(state.klds)
        state.klds.extendleft(seen.kld)
        if state.limits is None and len(state.klds) < self._options.long_window:
            self._warm_up(state, seen)
            return
        if state.limits is None:
            accepted = state.warm_up_accepted or [seen.accepted]
            state.limits = self._calibrate(accepted, before or list(seen.kld))
        state.wanted = self._predict(state.klds, fmean(seen.kld), *state.limits)

    def _warm_up(self, state: History, seen: Round) -> None:
        state.warm_up_accepted.append(seen.accepted)
        if seen.accepted >= seen.draft.length:
            state.wanted = self._options.clip(2 * state.wanted)

    def _calibrate(self, accepted: Sequence[int], klds: Sequence[float]) -> tuple[float, float]:
        options, largest = self._options, max(klds)
        spread = fmean(klds) / largest if largest > 0 else 0.0
        longest = max(accepted) * (1 + options.headroom * spread)
        longest = options.clip(round(longest) if options.variant == "code" else longest)
        return min(longest, max(options.min_length, math.ceil(options.min_share * longest))), longest

    def _predict(self, klds: deque[float], mean_kld: float, shortest: float, longest: float) -> float:
        options, past = self._options, list(klds)
        wvir = variance_ratio(past, options.short_window, options.decay, options.variance_floor, options.flat_wvir)
        scaled = mean_kld / options.temperature if options.temperature else mean_kld
        wanted = predicted_length(scaled, wvir, shortest, longest, options.kld_factor)
        return math.ceil(wanted) if options.variant == "code" else wanted
