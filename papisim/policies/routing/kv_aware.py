"""KV-aware: the replica with most room for KV caches, those of the prompts that wait there counted as taken.

Where memory and not compute limits the batch, the number of requests says little: one of 100,000 tokens weighs as much as a
hundred short ones.
"""

from __future__ import annotations

from typing import Literal

from papisim.kinds import Example
from papisim.policies.routing.base import RoutingOptions, RoutingView


class Options(RoutingOptions):
    """Nothing further to choose."""

    kind: Literal["kv_aware"]


EXAMPLE = Example()


class Routing:
    """Goes where most room is left; the first of equals."""

    def __init__(self, options: Options) -> None:
        del options

    def choose(self, view: RoutingView) -> int:
        """Return the replica with most free tokens once those that wait are in."""
        room = [replica.free_kv_tokens - replica.waiting_prompt_tokens for replica in view.replicas]
        return room.index(max(room))
