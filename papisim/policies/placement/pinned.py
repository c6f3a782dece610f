"""Static mapping: every FC kernel runs on one device, whatever the batch."""

from __future__ import annotations

from typing import Literal

from papisim.kinds import Example
from papisim.policies.placement.base import PlacementOptions, PlacementView


class Options(PlacementOptions):
    """Options of the static mapping: the device."""

    kind: Literal["pinned"]
    device: str

    def devices(self) -> dict[str, str]:
        """Return the device, which must run FC kernels."""
        return {"device": self.device}


EXAMPLE = Example({"device": "gpu"})


class Placement:
    """FC kernels always go to the same device."""

    def __init__(self, options: Options) -> None:
        self._device = options.device

    def place(self, view: PlacementView) -> str:
        """Return the device of the options."""
        return self._device
