"""What past rounds say about acceptance, and what acceptance says about a draft's worth."""

from __future__ import annotations

from dataclasses import dataclass

from papisim.policies.speculation.base import Round


def expected_emitted(acceptance: float, length: int) -> float:
    """Return E(α, s) = 1 + α + … + α^s: the tokens that a chain of s drafts is expected to emit (Leviathan et al.)."""
    return sum(acceptance**depth for depth in range(length + 1))


def drafts_decided(seen: Round) -> int:
    """Return the number of a round's drafts that verification decided on: the accepted ones and the first rejected one.

    Later ones had a wrong context and say nothing; dividing by all drafts would underestimate α the more the longer
    the drafts are.
    """
    return min(seen.accepted + 1, seen.draft.length)


@dataclass
class AcceptanceEstimate:
    """Exponentially weighted counts of drafts accepted and decided on.

    Attributes:
        decay: weight that the past keeps in each round, drafted in or not; so without drafts the estimate returns to
            its prior, and what was once switched off is tried again.
    """

    decay: float
    accepted: float = 0.0
    decided: float = 0.0

    def observe(self, accepted: int, decided: int) -> None:
        """Add the drafts of a round."""
        self.accepted = self.decay * self.accepted + accepted
        self.decided = self.decay * self.decided + decided

    def acceptance(self, prior: float, prior_tokens: float) -> float:
        """Return α, starting from a prior that counts as much as ``prior_tokens`` drafts."""
        return (prior * prior_tokens + self.accepted) / (prior_tokens + self.decided)
