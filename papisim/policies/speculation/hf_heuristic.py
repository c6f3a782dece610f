"""The heuristic schedule of assisted generation in Hugging Face Transformers.

The length grows by a few tokens after a fully accepted draft and shrinks by one after any other, but not below one
(``num_assistant_tokens_schedule: heuristic``). Later releases also stop a draft when the draft model is less sure of a
token than a threshold (``assistant_confidence_threshold``), which is an option here. What grows and
shrinks is the length as planned; full acceptance is of what was really drafted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from papisim.config.base import Fraction, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Draft, PerRequest, Proposal, Round, SpeculationView
from papisim.policies.speculation.dynamic_stop import cut_where_unsure


class Options(BoundedOptions):
    """Where the length starts, how it moves, and when a draft stops.

    Attributes:
        initial_length: drafts of a request's first round.
        grow: tokens added after a fully accepted draft.
        shrink: tokens taken off after any other.
        min_length: the length never falls below.
        max_length: the length never rises above.
        threshold: probability of the draft's top token below which the draft stops; none does, if None.
    """

    kind: Literal["hf_heuristic"]
    initial_length: Width
    grow: Width
    shrink: Width
    min_length: Width
    threshold: Fraction | None = None


EXAMPLE = Example("hf_heuristic")


@dataclass
class Length:
    """A request's next length."""

    tokens: int


class Speculation(PerRequest[Length]):
    """Each request has a length of its own."""

    def __init__(self, options: Options) -> None:
        super().__init__(lambda: Length(options.initial_length))
        self._options = options

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft each request's length."""
        return [Draft(self.state(request_id).tokens) for request_id in view.requests]

    def cut(self, requests: Sequence[int], drafts: Sequence[Draft], proposals: Sequence[Proposal]) -> list[int]:
        """End each draft after the first token that the draft is unsure of."""
        del requests
        return cut_where_unsure(self._options.threshold, drafts, proposals)

    def learn(self, state: Length, seen: Round) -> None:
        """Grow after full acceptance, shrink after anything less."""
        options = self._options
        if seen.draft.length == 0:
            return
        step = options.grow if seen.accepted == seen.draft.length else -options.shrink
        state.tokens = max(options.min_length, min(options.max_length, state.tokens + step))
