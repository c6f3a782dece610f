"""Dynamic stops: end a draft where a signal falls below a threshold, and a threshold that follows acceptance."""

from __future__ import annotations

from collections.abc import Sequence

from papisim.config.base import Fraction, NonNegative, Spec
from papisim.policies.speculation.base import Draft, Proposal


def positions_kept(signal: Sequence[float], threshold: float, length: int, least: int = 1) -> int:
    """Return the number of tokens drafted if drafting stops after the first token whose signal is below a threshold.

    That token has been drafted by then, and stays in the draft.

    Args:
        signal: what is known of each token, in order.
        threshold: at or above it, drafting goes on.
        length: tokens planned.
        least: tokens drafted before any is tested.
    """
    drafted = enumerate(signal[:length], 1)
    return next((position for position, value in drafted if position >= least and value < threshold), length)


def cut_where_unsure(threshold: float | None, drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
    """Return each draft's length if it ends after the first token whose confidence is below a threshold.

    Without a threshold drafts stay as planned.
    """
    if threshold is None:
        return [draft.length for draft in drafts]
    return [positions_kept(p.confidence, threshold, d.length) for d, p in zip(drafts, proposals, strict=True)]


class ThresholdOptions(Spec):
    """How the threshold moves.

    Attributes:
        initial: the threshold of a new request.
        target: acceptance rate that is aimed at.
        step: how far one round would move the threshold.
        smoothing: weight of the old threshold against the moved one.
        initial_rate: acceptance rate that a new request is taken to have had.
        rate_smoothing: weight of the smoothed acceptance rate against the newest.
    """

    initial: NonNegative
    target: Fraction
    step: NonNegative
    smoothing: NonNegative
    initial_rate: NonNegative
    rate_smoothing: NonNegative


class AdaptiveThreshold:
    """A threshold that rises while too little is accepted, and falls while enough is (Zhang et al., Draft & Verify)."""

    def __init__(self, options: ThresholdOptions) -> None:
        self._options = options
        self.value = options.initial
        self.rate = options.initial_rate

    def update(self, observed_rate: float, *, may_fall: bool = True) -> None:
        """Smooth the acceptance rate, then move the threshold a little.

        Args:
            observed_rate: the newest acceptance rate.
            may_fall: whether the threshold may fall in this round.
        """
        options = self._options
        self.rate = options.rate_smoothing * self.rate + (1 - options.rate_smoothing) * observed_rate
        moved = self.value
        if self.rate < options.target:
            moved += options.step
        elif may_fall:
            moved -= options.step
        self.value = options.smoothing * self.value + (1 - options.smoothing) * moved
