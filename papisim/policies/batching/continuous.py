"""Continuous batching: requests join and leave between iterations, their whole prompts beside the others' tokens.

Iteration-level scheduling with selective batching (Yu et al., Orca, OSDI 2022): a step holds the new requests' prompts and
one iteration of all others.
"""

from __future__ import annotations

from itertools import accumulate, islice
from typing import Literal

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.batching.base import BatchingView, StepPlan, whole_prompts
from papisim.policies.batching.limits import Joining, LimitedOptions, joining


class Options(LimitedOptions):
    """The limits of the batch and of a step.

    Attributes:
        step_tokens: most token-rows of a step, those of decoding included (TensorRT-LLM's ``max_num_tokens``, chunked prefill being off).
            A prompt that is longer than what decoding leaves runs without further prompts. If None, all prompts that fit run at once.
    """

    kind: Literal["continuous"]
    step_tokens: Count | None = None


EXAMPLE = Example({"max_batch": 8})


class Batching(Joining[Options]):
    """Admits whatever fits before every step."""

    def plan(self, view: BatchingView) -> StepPlan:
        """Compute the prompts of all that fit, and decode."""
        most = joining(self._options, view)
        if self._options.step_tokens is None or not most:
            return whole_prompts(view, most, decode=True)
        sums = islice(accumulate(view.prompts(most), initial=view.decode_rows), len(view.prefilling) + 1, None)
        within = sum(rows <= self._options.step_tokens for rows in sums)
        return whole_prompts(view, within if view.prefilling else max(1, within), decode=True)
