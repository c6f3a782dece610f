"""Lengths that step up after a fully accepted draft and down after any other, each request's by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from papisim.config.base import Count
from papisim.policies.speculation.base import BoundedOptions, Draft, PerRequest, Round, SpeculationView


class StepOptions(BoundedOptions):
    """Start, steps and limits of the length.

    Attributes:
        initial_length: drafts of a request's first round.
        grow: tokens added after a fully accepted draft.
        shrink: tokens taken off after any other.
        min_length: the length never falls below.
        max_length: the length never rises above.
    """

    initial_length: Count
    grow: Count
    shrink: Count
    min_length: Count


OptionsT = TypeVar("OptionsT", bound=StepOptions)


@dataclass
class Length:
    """A request's next length."""

    tokens: int


class Stepping(PerRequest[Length], Generic[OptionsT]):
    """The base of the policies whose lengths step."""

    def __init__(self, options: OptionsT) -> None:
        super().__init__(lambda: Length(options.initial_length))
        self._options = options

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft each request's length."""
        return [Draft(self.state(request_id).tokens) for request_id in view.requests]

    def learn(self, state: Length, seen: Round) -> None:
        """Step up after full acceptance, down after anything less."""
        options = self._options
        if seen.draft.length == 0:
            return
        step = options.grow if seen.accepted == seen.draft.length else -options.shrink
        state.tokens = max(options.min_length, min(options.max_length, state.tokens + step))
