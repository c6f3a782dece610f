"""How many requests may be in a batch: what the options allow, and what a latency target leaves of that."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from papisim.config.base import Count, Positive
from papisim.policies.batching.base import BatchingOptions, BatchingView


class LimitedOptions(BatchingOptions):
    """What the policies that admit requests while others decode have in common.

    Attributes:
        max_batch: most requests in the batch, decoding or with prompts to compute (vLLM's ``max_num_seqs``).
        slo_tpot_s: target for the time per output token. No more requests are admitted than decode together within it,
            all with their caches at their longest, by the cost model (PAPI, Section 3.1; AttAcc, Section 3). A lone request
            is admitted whatever it takes.
    """

    max_batch: Count
    slo_tpot_s: Positive | None = None


OptionsT = TypeVar("OptionsT", bound=LimitedOptions)


class Joining(Generic[OptionsT]):
    """A policy whose requests join those that decode, with pages for their prompts alone; the base of those that do."""

    joins_running: ClassVar[bool] = True
    reserves_whole: ClassVar[bool] = False
    must_fit: ClassVar[bool] = False

    def __init__(self, options: OptionsT) -> None:
        self._options = options


def joining(options: LimitedOptions, view: BatchingView, limit: int | None = None) -> int:
    """Return the number of waiting requests that may join: those that fit, up to the limits.

    Args:
        options: the policy's.
        view: what it sees.
        limit: a further limit of the policy's own.
    """
    room = options.max_batch - view.admitted
    if limit is not None:
        room = min(room, limit)
    if room <= 0 or not view.waiting:
        return 0
    fitting = view.fitting(room)
    return fitting if options.slo_tpot_s is None else _within(options.slo_tpot_s, view, fitting)


def _within(target_s: float, view: BatchingView, most: int) -> int:
    """Return the largest number up to ``most`` that may join within the target; an iteration is longer for more."""
    least = 0 if view.admitted else min(1, most)
    low, high = least, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if view.iteration_s(middle) <= target_s else (low, middle - 1)
    return low
