"""The heuristic schedule of assisted generation in Hugging Face Transformers.

The length grows by a few tokens after a fully accepted draft and shrinks by one after any other, but not below one
(``num_assistant_tokens_schedule: heuristic``). Later releases also stop a draft when the draft model is less sure of a
token than a threshold (``assistant_confidence_threshold``), which is an option here. What grows and
shrinks is the length as planned; full acceptance is of what was really drafted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from papisim.config.base import Fraction
from papisim.kinds import Example
from papisim.policies.speculation.base import Draft, Proposal
from papisim.policies.speculation.dynamic_stop import cut_where_unsure
from papisim.policies.speculation.stepping import StepOptions, Stepping


class Options(StepOptions):
    """Start, steps and limits of the length, and the threshold that stops a draft.

    Attributes:
        threshold: probability of the draft's top token below which the draft stops; none does, if None.
    """

    kind: Literal["hf_heuristic"]
    threshold: Fraction | None = None

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset() if self.threshold is None else frozenset({"confidence"})


EXAMPLE = Example("hf_heuristic")


class Speculation(Stepping[Options]):
    """Each request has a length of its own; a draft stops where its model is unsure."""

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """End each draft after the first token that the draft is unsure of."""
        del requests
        return cut_where_unsure(self._options.threshold, drafts, proposals)
