"""Static batching: a batch starts together and drains before the next one starts (PAPI, Section 7.1)."""

from __future__ import annotations

from typing import Literal

from papisim.policies.batching.base import BatchingOptions, BatchingView
from papisim.spec.base import Count


class Options(BatchingOptions):
    """The requests of a batch."""

    kind: Literal["static"]
    batch_size: Count


class Batching:
    """Admits a whole batch when the last one is gone."""

    def __init__(self, options: Options) -> None:
        self._batch_size = options.batch_size

    def admit(self, view: BatchingView) -> int:
        """Return a full batch, or the rest when nothing more will come; nothing while a batch runs."""
        enough = view.waiting >= self._batch_size or not view.more_to_come
        return min(view.waiting, self._batch_size) if view.running == 0 and enough else 0
