"""A speculation length that the host changes at given iterations, whatever its reason."""

from __future__ import annotations

import bisect
from typing import Annotated, Literal

from pydantic import Field, model_validator

from papisim.config.base import Spec, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import Draft, SpeculationOptions, SpeculationView, Stateless


class Write(Spec):
    """One write of the TLP register: it holds ``tlp`` from iteration ``from_iteration`` on."""

    from_iteration: Annotated[int, Field(ge=0)]
    tlp: Width


class Options(SpeculationOptions):
    """The writes, in order; the first at iteration 0."""

    kind: Literal["schedule"]
    writes: Annotated[list[Write], Field(min_length=1)]

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return max(write.tlp for write in self.writes) - 1

    @model_validator(mode="after")
    def _in_order(self) -> Options:
        starts = [write.from_iteration for write in self.writes]
        if starts[0] != 0:
            raise ValueError(f"found a first write at iteration {starts[0]}, expected one at iteration 0")
        if starts != sorted(set(starts)):
            raise ValueError(f"found writes at iterations {starts}, expected them in ascending order")
        return self


EXAMPLE = Example({"writes": [{"from_iteration": 0, "tlp": 4}, {"from_iteration": 10, "tlp": 2}]})


class Speculation(Stateless):
    """TLP follows the schedule."""

    def __init__(self, options: Options) -> None:
        self._starts = [write.from_iteration for write in options.writes]
        self._drafts = [Draft(write.tlp - 1) for write in options.writes]

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft what the last write at or before the iteration says."""
        return [self._drafts[bisect.bisect_right(self._starts, view.iteration) - 1]] * view.rlp
