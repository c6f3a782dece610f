"""An oracle: ask the cost model what each kernel would take on each device, and choose the fastest.

No online scheduler can know these times. Kernels of a step follow one another, so the fastest device of each operator makes the
fastest step: the oracle bounds what any placement of FC, attention, experts and drafts can reach.
"""

from __future__ import annotations

from typing import Literal

from papisim.kinds import Example
from papisim.policies.placement.base import PlacementOptions, PlacementView


class Options(PlacementOptions):
    """The oracle has no options."""

    kind: Literal["cheapest"]


EXAMPLE = Example()


class Placement:
    """Each kernel goes to the device on which it takes the least time; the first named wins a tie."""

    def __init__(self, options: Options) -> None:
        del options

    def place(self, view: PlacementView) -> str:
        """Return the device with the smallest price."""
        return min(view.candidates, key=lambda device: view.price(device, view.kernel).time_s)
