"""LayerSkip: self-speculation with a fixed exit layer and a fixed draft length (Elhoushi et al., ACL 2024)."""

from __future__ import annotations

from typing import Literal

from papisim.config.base import Count, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import Draft, SpeculationOptions, SpeculationView, Stateless


class Options(SpeculationOptions):
    """The first layers that draft, and how many tokens they draft."""

    kind: Literal["layerskip"]
    exit_layer: Count
    length: Width

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return self.length

    @property
    def signals(self) -> frozenset[str]:
        """Signals that the policy decides by."""
        return frozenset({"layers"})


EXAMPLE = Example(
    "layerskip", beside={"trace": "llama3-8b", "draft": "early_exit", "acceptance": "layerskip_llama3_8b"}
)


class Speculation(Stateless):
    """Neither ever changes."""

    def __init__(self, options: Options) -> None:
        self._draft = Draft(options.length, exit_layer=options.exit_layer)

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft the same for every request."""
        return [self._draft] * view.rlp
