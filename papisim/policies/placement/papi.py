"""PAPI's scheduler: compare the estimated arithmetic intensity with a threshold (PAPI, Section 5).

The arithmetic intensity of an FC kernel tends to RLP × TLP (eq. 2), which is known before the kernel runs. Above α the
processing units are faster, up to α FC-PIM is. α is found offline (``papisim calibrate alpha``).
"""

from __future__ import annotations

from typing import Literal

from papisim.policies.placement.base import PlacementOptions, PlacementView
from papisim.spec.base import NonNegative


class Options(PlacementOptions):
    """Options of PAPI's scheduler.

    Attributes:
        processing_unit: device for compute-bound FC kernels.
        pim: device for memory-bound FC kernels.
        alpha: threshold on RLP × TLP, in token-rows.

    """

    kind: Literal["papi"]
    processing_unit: str
    pim: str
    alpha: NonNegative

    def devices(self) -> dict[str, str]:
        """Return both sides, which must run FC kernels."""
        return {"processing_unit": self.processing_unit, "pim": self.pim}


class Placement:
    """FC kernels go to the processing units when RLP × TLP > α, else to FC-PIM."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def place(self, view: PlacementView) -> str:
        """Return the side of the threshold that RLP × TLP is on."""
        options = self._options
        return options.processing_unit if view.rlp * view.tlp > options.alpha else options.pim
