"""SADDLE's adaptive draft length: a draft ends when it has become unlikely as a whole (Wang et al., HPCA 2026).

After each token the product H of the draft's probabilities, from the first token that is not verified, is compared with a threshold τ; the
draft of that request ends where H < τ. τ is calibrated offline: the longest drafts of which 90 % pass verification. Drafting beside
verification, H runs on over what is being verified, so that requests which have stopped do not draft on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Literal

from papisim.config.base import Fraction
from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Draft, Proposal, SpeculationView, Stateless
from papisim.policies.speculation.dynamic_stop import positions_kept


class Options(BoundedOptions):
    """Hyper-parameters.

    Attributes:
        threshold: τ.
    """

    kind: Literal["saddle"]
    threshold: Fraction

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset({"confidence"})


EXAMPLE = Example("saddle")


class Speculation(Stateless):
    """Each request stops by itself."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Allow the longest draft; the stop decides."""
        return [Draft(self._options.max_length)] * view.rlp

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """End each draft after the token with which it becomes less likely than the threshold."""
        del requests
        likely = [list(accumulate(proposal.confidence, mul)) for proposal in proposals]
        return [
            positions_kept(product, self._options.threshold, draft.length)
            for product, draft in zip(likely, drafts, strict=True)
        ]
