"""Round robin: replicas take turns, whatever their load."""

from __future__ import annotations

from typing import Literal

from papisim.kinds import Example
from papisim.policies.routing.base import RoutingOptions, RoutingView


class Options(RoutingOptions):
    """Nothing further to choose."""

    kind: Literal["round_robin"]


EXAMPLE = Example()


class Routing:
    """The n-th request goes to replica n modulo their number."""

    def __init__(self, options: Options) -> None:
        del options

    def choose(self, view: RoutingView) -> int:
        """Return the next in turn."""
        return view.number % len(view.replicas)
