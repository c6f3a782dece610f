"""The rounds of one request's acceptance, of which the coming one may be settled before it is verified.

Drafts that are made while others are verified belong to the round after. What they look like does not depend on the verification, which
they assume to succeed; so the coming round is drawn when the drafts after it begin, and shown when its verification has ended.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from papisim.acceptance.base import Outcome, Sequence
from papisim.policies.speculation.base import Proposal


class Verdict(NamedTuple):
    """What verification says of a request's drafts.

    Attributes:
        outcome: of the drafts.
        goes_on: whether all are accepted and the draft model's next token is the one that verification adds.
    """

    outcome: Outcome
    goes_on: bool


class Rounds:
    """The rounds of one request.

    Args:
        sequence: acceptance along the request's answer.
    """

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._coming: Outcome | None = None

    @property
    def longest(self) -> int | None:
        """The longest draft of the coming round, in tokens, once that is settled."""
        return None if self._coming is None else self._coming.drafted - 1

    def proposal(self, length: int) -> Proposal:
        """Show the coming round's draft up to a length."""
        if self._coming is None:
            shown = self._sequence.proposal(length)
            return Proposal(shown.confidence, shown.entropy)
        return Proposal(self._coming.confidence[:length], self._coming.entropy[:length])

    def settle(self, length: int) -> None:
        """Settle the coming round for drafts of at most ``length`` tokens, unless it is settled."""
        if self._coming is None:
            self._coming = self._sequence.round(length + 1)

    def chain(self, verified: int, length: int) -> Proposal:
        """Show drafts of the coming round, which must be settled, the draft model's next token, and drafts of the round after.

        Args:
            verified: drafts of the coming round.
            length: drafts of the round after.
        """
        first, then = self.proposal(verified + 1), self._sequence.proposal(length)
        return Proposal(first.confidence + then.confidence, first.entropy + then.entropy)

    def verify(self, length: int) -> Verdict:
        """Verify a chain of ``length`` tokens and move on to the next round."""
        self.settle(length)
        settled, self._coming = self._coming, None
        assert settled is not None
        return Verdict(_first(settled, length), settled.accepted > length)


def _first(outcome: Outcome, length: int) -> Outcome:
    """Return the outcome of the first ``length`` of the tokens drafted."""
    return replace(
        outcome,
        drafted=length,
        accepted=min(outcome.accepted, length),
        kld=outcome.kld[:length],
        confidence=outcome.confidence[:length],
        entropy=outcome.entropy[:length],
    )
