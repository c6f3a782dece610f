"""A constant speculation length."""

from __future__ import annotations

from typing import Literal

from papisim.config.base import Width
from papisim.kinds import Example
from papisim.policies.speculation.base import Draft, SpeculationOptions, SpeculationView, Stateless


class Options(SpeculationOptions):
    """The tokens in flight per request: one more than are drafted."""

    kind: Literal["fixed"]
    tlp: Width

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return self.tlp - 1


EXAMPLE = Example({"tlp": 4})


class Speculation(Stateless):
    """TLP never changes."""

    def __init__(self, options: Options) -> None:
        self.steady_tlp = options.tlp
        self._draft = Draft(options.tlp - 1)

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft the same for every request."""
        return [self._draft] * view.rlp
