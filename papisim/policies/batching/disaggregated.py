"""Prefill and decoding on machines of their own, so that neither delays the other.

Some machines compute prompts and nothing else; a prompt's KV cache is then sent to another machine, which decodes (Zhong et
al., DistServe, OSDI 2024; Patel et al., Splitwise, ISCA 2024).
"""

from __future__ import annotations

from itertools import accumulate
from typing import ClassVar, Literal

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.batching.base import BatchingView, StepPlan, whole_prompts
from papisim.policies.batching.limits import Joining, LimitedOptions, joining


class Options(LimitedOptions):
    """How many machines do what; limits are those of each decoding machine.

    Attributes:
        prefill_tokens: most prompt tokens of a step of a machine that computes prompts; a longer prompt runs alone.
        prefill_machines: machines that compute prompts.
        decode_machines: machines that decode.
        link: link of the system over which a machine that computed a prompt sends its cache.
    """

    kind: Literal["disaggregated"]
    prefill_tokens: Count
    prefill_machines: Count
    decode_machines: Count
    link: str


EXAMPLE = Example(
    {"max_batch": 8, "prefill_tokens": 4096, "prefill_machines": 1, "decode_machines": 1, "link": "nvlink"}
)


class Batching(Joining[Options]):
    """Of a machine that decodes: admits the requests that fit; prompts are there, unless they must be computed again."""

    def plan(self, view: BatchingView) -> StepPlan:
        """Decode with all that fit."""
        return whole_prompts(view, joining(self._options, view), decode=True)


class Prefill:
    """Of a machine that computes prompts: up to what a step holds, in the order of their arrival."""

    joins_running: ClassVar[bool] = False
    reserves_whole: ClassVar[bool] = False
    must_fit: ClassVar[bool] = False

    def __init__(self, options: Options) -> None:
        self._options = options

    def plan(self, view: BatchingView) -> StepPlan:
        """Compute the prompts of the requests that fit."""
        most = view.fitting(len(view.waiting))
        within = sum(tokens <= self._options.prefill_tokens for tokens in accumulate(view.prompts(most)))
        return whole_prompts(view, max(within, min(most, 1)), decode=False)
