"""No speculation: one token per request and iteration."""

from __future__ import annotations

from typing import Literal

from papisim.kinds import Example
from papisim.policies.speculation.base import NO_DRAFT, Draft, SpeculationOptions, SpeculationView, Stateless


class Options(SpeculationOptions):
    """Nothing to choose."""

    kind: Literal["off"]

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return 0


EXAMPLE = Example()


class Speculation(Stateless):
    """TLP is 1."""

    steady_tlp: int | None = 1

    def __init__(self, options: Options) -> None:
        del options

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft nothing."""
        return [NO_DRAFT] * view.rlp
