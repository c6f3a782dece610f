"""Least loaded: the replica with the fewest requests, waiting or admitted."""

from __future__ import annotations

from typing import Literal

from papisim.kinds import Example
from papisim.policies.routing.base import RoutingOptions, RoutingView


class Options(RoutingOptions):
    """Nothing further to choose."""

    kind: Literal["least_loaded"]


EXAMPLE = Example()


class Routing:
    """Joins the shortest queue; the first of equals."""

    def __init__(self, options: Options) -> None:
        del options

    def choose(self, view: RoutingView) -> int:
        """Return the replica with the fewest requests."""
        loads = [replica.waiting + replica.admitted for replica in view.replicas]
        return loads.index(min(loads))
