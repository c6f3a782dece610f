"""Finite-step feedback (FS): a length that grows after a fully accepted draft and shrinks after any other.

It is one of the baselines in the released code of DEL (Entezari Zarch et al., COLM 2025), there for self-speculation
with a fixed exit layer; without an exit layer it serves any draft source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from papisim.config.base import Count, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import BoundedOptions, Draft, PerRequest, Round, SpeculationView


class Options(BoundedOptions):
    """Where the length starts, how it moves, and how far.

    Attributes:
        initial_length: drafts of a request's first round.
        grow: tokens added after a fully accepted draft.
        shrink: tokens taken off after any other.
        min_length: the length never falls below.
        max_length: the length never rises above.
        exit_layer: layers that draft, for self-speculation.
    """

    kind: Literal["feedback_step"]
    initial_length: Width
    grow: Width
    shrink: Width
    min_length: Width
    exit_layer: Count | None = None


EXAMPLE = Example(
    "feedback_step", beside={"trace": "llama3-8b", "draft": "early_exit", "acceptance": "layerskip_llama3_8b"}
)


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
        return [Draft(self.state(r).tokens, exit_layer=self._options.exit_layer) for r in view.requests]

    def learn(self, state: Length, seen: Round) -> None:
        """Step up after full acceptance, down after anything less."""
        options = self._options
        if seen.draft.length == 0:
            return
        step = options.grow if seen.accepted == seen.draft.length else -options.shrink
        state.tokens = max(options.min_length, min(options.max_length, state.tokens + step))
