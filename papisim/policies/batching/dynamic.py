"""Dynamic batching: a batch starts when it is full or its oldest request has waited long enough, and drains.

As inference servers without iteration-level scheduling do (Triton's dynamic batcher: preferred size and queue delay).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from papisim.config.base import Count, NonNegative
from papisim.kinds import Example
from papisim.policies.batching.base import DECODE, BatchingOptions, BatchingView, StepPlan, whole_prompts


class Options(BatchingOptions):
    """When a batch starts.

    Attributes:
        batch_size: requests of a full batch.
        timeout_s: how long the oldest request waits for a batch to fill.
    """

    kind: Literal["dynamic"]
    batch_size: Count
    timeout_s: NonNegative


EXAMPLE = Example({"batch_size": 8, "timeout_s": 1.5})


class Batching:
    """Admits what waits, up to a full batch, when the last batch is gone and it is time."""

    joins_running: ClassVar[bool] = False
    reserves_whole: ClassVar[bool] = True
    must_fit: ClassVar[bool] = False

    def __init__(self, options: Options) -> None:
        self._options = options

    def plan(self, view: BatchingView) -> StepPlan:
        """Admit a batch, or say when the oldest request's time is up."""
        if view.admitted or not view.waiting:
            return DECODE
        full = len(view.waiting) >= self._options.batch_size or not view.more_to_come
        due_s = view.waiting[0].arrival_s + self._options.timeout_s
        if not full and view.now_s < due_s:
            return StepPlan(wake_s=due_s)
        return whole_prompts(view, view.fitting(self._options.batch_size), decode=False)
