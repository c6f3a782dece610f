"""Prefix-aware: the replica whose prefix cache has most of the prompt, unless it has many more requests than another.

Without a bound, one prompt that all requests begin with would send them all to one replica, so ``slack_requests`` says how uneven the
load may become for the sake of reuse (the router of SGLang likewise weighs matches against load; Zheng et al., NeurIPS 2024).
"""

from __future__ import annotations

from typing import Literal

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.routing.base import RoutingOptions, RoutingView


class Options(RoutingOptions):
    """How much load reuse is worth.

    Attributes:
        slack_requests: replicas with more requests, waiting or admitted, than the least loaded one and this many are left out; None: no
            replica is.
    """

    kind: Literal["prefix_aware"]
    slack_requests: Count | None = None


EXAMPLE = Example({"slack_requests": 4})


class Routing:
    """Goes where most of the prompt is cached; of equals, to the one with fewest requests, then to the first."""

    def __init__(self, options: Options) -> None:
        self._slack = options.slack_requests

    def choose(self, view: RoutingView) -> int:
        """Return the replica with most cached tokens of the prompt."""
        loads = [replica.waiting + replica.admitted for replica in view.replicas]
        most = max(loads) if self._slack is None else min(loads) + self._slack
        ranked = [
            (-replica.cached_prompt_tokens, load, index)
            for index, (replica, load) in enumerate(zip(view.replicas, loads, strict=True))
            if load <= most
        ]
        return min(ranked)[2]
