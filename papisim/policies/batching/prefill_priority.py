"""Prefill first: new requests' whole prompts run in a step of their own while decoding pauses.

vLLM's scheduler before chunked prefill (Kwon et al., vLLM, SOSP 2023). It favours the time to first token; every prompt is
a stall between two tokens of all others.
"""

from __future__ import annotations

from itertools import accumulate, islice
from typing import Literal

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.batching.base import DECODE, BatchingView, StepPlan, whole_prompts
from papisim.policies.batching.limits import Joining, LimitedOptions, joining


class Options(LimitedOptions):
    """The limits of the batch and of a prefill.

    Attributes:
        prefill_tokens: most prompt tokens of a step (vLLM's ``max_num_batched_tokens``); a longer prompt runs alone.
    """

    kind: Literal["prefill_priority"]
    prefill_tokens: Count


EXAMPLE = Example({"max_batch": 8, "prefill_tokens": 4096})


class Batching(Joining[Options]):
    """Computes prompts whenever some fit, and decodes otherwise."""

    def plan(self, view: BatchingView) -> StepPlan:
        """Admit requests up to what a prefill holds; with none, decode."""
        most = joining(self._options, view)
        sums = islice(accumulate(view.prompts(most)), len(view.prefilling), None)
        join = sum(tokens <= self._options.prefill_tokens for tokens in sums)
        if most and not view.prefilling:
            join = max(join, 1)
        return whole_prompts(view, join, decode=False) if join or view.prefilling else DECODE
