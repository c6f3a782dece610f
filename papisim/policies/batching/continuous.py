"""Continuous batching: requests join and leave between iterations, their whole prompts beside the others' tokens.

Iteration-level scheduling with selective batching (Yu et al., Orca, OSDI 2022): a step holds the new requests' prompts and
one iteration of all others.
"""

from __future__ import annotations

from typing import Literal

from papisim.kinds import Example
from papisim.policies.batching.base import BatchingView, StepPlan, whole_prompts
from papisim.policies.batching.limits import Joining, LimitedOptions, joining


class Options(LimitedOptions):
    """The limits of the batch."""

    kind: Literal["continuous"]


EXAMPLE = Example({"max_batch": 8})


class Batching(Joining[Options]):
    """Admits whatever fits before every step."""

    def plan(self, view: BatchingView) -> StepPlan:
        """Compute the prompts of all that fit, and decode."""
        return whole_prompts(view, joining(self._options, view), decode=True)
