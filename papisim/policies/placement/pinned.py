"""Static mapping: every FC kernel of the target model runs on one device, whatever the batch; other operators stay at home."""

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
    """FC kernels of the target model always go to the same device."""

    def __init__(self, options: Options) -> None:
        self._device = options.device

    def place(self, view: PlacementView) -> str:
        """Return the device of the options for target FC, the home of any other operator."""
        return self._device if view.operator.is_of_target_fc else view.candidates[0]
