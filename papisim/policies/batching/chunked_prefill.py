"""Chunked prefill: a budget of tokens per step, which decoding takes from first and prompts fill up, in chunks.

Stall-free batching (Agrawal et al., Sarathi-Serve, OSDI 2024), which vLLM does by default since version 1.
"""

from __future__ import annotations

from itertools import islice
from typing import Literal

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.batching.base import BatchingView, StepPlan
from papisim.policies.batching.limits import Joining, LimitedOptions, joining


class Options(LimitedOptions):
    """The limits of the batch and of a step.

    Attributes:
        chunk_tokens: most token-rows of a step, those of decoding included (vLLM's ``max_num_batched_tokens``, Sarathi's
            chunk size). Decoding takes part whatever it needs.
    """

    kind: Literal["chunked_prefill"]
    chunk_tokens: Count


EXAMPLE = Example({"max_batch": 8, "chunk_tokens": 512})


class Batching(Joining[Options]):
    """Decodes in every step, and gives what is left of the budget to prompts in the order of their arrival."""

    def plan(self, view: BatchingView) -> StepPlan:
        """Go on with the prompts that have begun, then admit requests while each gets a token."""
        budget = self._options.chunk_tokens - view.decode_rows
        chunks: list[int] = []
        for left in view.prefilling:
            chunks.append(max(0, min(left, budget)))
            budget -= chunks[-1]
        join = 0
        if budget > 0 and view.waiting:
            for request in islice(view.waiting, joining(self._options, view, budget)):
                if budget <= 0:
                    break
                chunks.append(min(request.prompt_left, budget))
                budget -= chunks[-1]
                join += 1
        return StepPlan(join, tuple(chunks))
