"""AdaEDL: stop drafting where the draft's entropy says that acceptance is unlikely (Agrawal et al., arXiv:2410.18351).

1 − √(γ H) is a lower bound of the probability that a token is accepted, H being the entropy of the draft's distribution in
nats. As in the released code of DSDE, where it is the baseline: the whole batch stops drafting as soon as the bound of any
request is below that request's threshold λ, once the least length is drafted; λ rises while the smoothed acceptance rate
is below its target, and falls while it is above and a whole longest draft has been accepted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from papisim.config.base import Positive, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Draft, PerRequest, Proposal, Round, SpeculationView
from papisim.policies.speculation.dynamic_stop import AdaptiveThreshold, ThresholdOptions, positions_kept


class Options(BoundedOptions):
    """Hyper-parameters.

    Attributes:
        min_length: tokens that are drafted before anything is stopped.
        max_length: the longest draft.
        entropy_factor: γ, per nat.
        threshold: λ.
    """

    kind: Literal["adaedl"]
    min_length: Width
    entropy_factor: Positive
    threshold: ThresholdOptions

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset({"entropy"})


EXAMPLE = Example("adaedl")


class Speculation(PerRequest[AdaptiveThreshold]):
    """Each request has a threshold of its own; the strictest stops them all."""

    def __init__(self, options: Options) -> None:
        super().__init__(lambda: AdaptiveThreshold(options.threshold))
        self._options = options

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Allow the longest draft; the stop decides."""
        return [Draft(self._options.max_length)] * view.rlp

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """End all drafts at the step in which the first request stops."""
        stop = self._options.max_length
        for request_id, proposal in zip(requests, proposals, strict=True):
            bounds = [self.acceptance_bound(entropy) for entropy in proposal.entropy]
            stop = positions_kept(bounds, self.state(request_id).value, stop, self._options.min_length)
        return [min(draft.length, stop) for draft in drafts]

    def acceptance_bound(self, entropy: float) -> float:
        """Return the lower bound of a token's acceptance probability, given the draft's entropy in nats."""
        return 1 - math.sqrt(self._options.entropy_factor * entropy)

    def learn(self, state: AdaptiveThreshold, seen: Round) -> None:
        """Move the threshold with the acceptance rate of the round."""
        drafted = seen.draft.length
        if drafted:
            state.update(seen.accepted / drafted, may_fall=seen.accepted == self._options.max_length)
