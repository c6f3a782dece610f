"""Static batching: a batch starts together and drains before the next one starts (PAPI, Section 7.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.batching.base import DECODE, BatchingOptions, BatchingView, StepPlan, whole_prompts


class Options(BatchingOptions):
    """The requests of a batch."""

    kind: Literal["static"]
    batch_size: Count


EXAMPLE = Example({"batch_size": 8})


class Batching:
    """Admits a whole batch when the last one is gone."""

    joins_running: ClassVar[bool] = False
    reserves_whole: ClassVar[bool] = True
    must_fit: ClassVar[bool] = True

    def __init__(self, options: Options) -> None:
        self._batch_size = options.batch_size

    def plan(self, view: BatchingView) -> StepPlan:
        """Admit a full batch, or the rest when nothing more will come; nothing while a batch runs."""
        waiting = len(view.waiting)
        if view.admitted or (waiting < self._batch_size and view.more_to_come):
            return DECODE
        return whole_prompts(view, min(waiting, self._batch_size), decode=False)
