"""SmartSpec: the draft length with the largest goodput (Liu et al., arXiv:2406.14066, later TurboSpec).

Goodput is accepted tokens per second. With α a moving average of acceptance over the batch's past iterations,

    k* = argmax over k of  b · E(α, k) / T(b, k),      E(α, k) = 1 + α + … + α^k.

T comes from a linear model fitted offline, or, without one, from the simulator's cost model. While k* is 0 nothing is learned
about α; only a change of T, such as a smaller batch, switches drafting on again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from papisim.config.base import Fraction, NonNegative, Spec
from papisim.kinds import Example
from papisim.policies.speculation.acceptance_estimate import drafts_decided, expected_emitted
from papisim.policies.speculation.base import AsPlanned, BoundedOptions, Draft, Round, SpeculationView


class LinearTime(Spec):
    """Seconds of an iteration, linear in its work; the context of a typical batch is in ``fixed_s``.

    Attributes:
        fixed_s: time of an iteration that is always there.
        verified_row_s: time of each token-row that is verified.
        draft_step_s: time of each serial draft step.
    """

    fixed_s: NonNegative
    verified_row_s: NonNegative
    draft_step_s: NonNegative

    def price_s(self, drafts: Sequence[Draft]) -> float:
        """Return the time of an iteration with these drafts."""
        rows = sum(draft.rows for draft in drafts)
        steps = max((draft.length for draft in drafts), default=0)
        return self.fixed_s + rows * self.verified_row_s + steps * self.draft_step_s


class Options(BoundedOptions):
    """Hyper-parameters.

    Attributes:
        max_length: longest draft to consider.
        smoothing: weight of the newest iteration in α.
        initial_acceptance: α before any draft.
        time: the linear model; the simulator's cost model, if None.
    """

    kind: Literal["smartspec"]
    smoothing: Fraction
    initial_acceptance: Fraction
    time: LinearTime | None = None


EXAMPLE = Example("smartspec")


class Speculation(AsPlanned):
    """One α and one length for the batch."""

    learns_from_all = True

    def __init__(self, options: Options) -> None:
        self._options = options
        self.acceptance = options.initial_acceptance

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft the length with the largest goodput; the shorter one of equals."""
        price_s = self._options.time.price_s if self._options.time else view.price_s
        candidates = [[Draft(length)] * view.rlp for length in range(self._options.max_length + 1)]

        def goodput(drafts: list[Draft]) -> float:
            return sum(expected_emitted(self.acceptance, draft.length) for draft in drafts) / price_s(drafts)

        return max(candidates, key=goodput)

    def observe(self, rounds: Sequence[Round]) -> None:
        """Move α towards the iteration's acceptance."""
        drafts = sum(drafts_decided(seen) for seen in rounds)
        if drafts:
            newest = sum(seen.accepted for seen in rounds) / drafts
            self.acceptance += self._options.smoothing * (newest - self.acceptance)

    def leave(self, request_id: int) -> None:
        """Have nothing to forget: α is the batch's."""
