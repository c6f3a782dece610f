"""PAPI's scheduler: compare the estimated arithmetic intensity with a threshold (PAPI, Section 5).

The arithmetic intensity of an FC kernel tends to RLP × TLP (eq. 2), which is known before the kernel runs. Above α the
processing units are faster, up to α FC-PIM is. α is found offline (``papisim calibrate alpha``).
"""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from papisim.config.base import NonNegative
from papisim.kinds import Example
from papisim.policies.placement.base import PlacementOptions, PlacementView


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
    alpha: NonNegative | dict[str, NonNegative]

    @field_validator("alpha")
    @classmethod
    def _has_default(cls, value: float | dict[str, float]) -> float | dict[str, float]:
        if isinstance(value, dict) and "default" not in value:
            raise ValueError("found thresholds by model without a 'default', expected one for all other models")
        return value

    def devices(self) -> dict[str, str]:
        """Return both sides, which must run FC kernels."""
        return {"processing_unit": self.processing_unit, "pim": self.pim}

    def for_model(self, name: str) -> Options:
        """Return the options with the one threshold that holds for a model."""
        return self.model_copy(update={"alpha": self.threshold(name)})

    def threshold(self, name: str) -> float:
        """Return the threshold that holds for a model."""
        return self.alpha.get(name, self.alpha["default"]) if isinstance(self.alpha, dict) else self.alpha


EXAMPLE = Example({"processing_unit": "gpu", "pim": "fc_pim", "alpha": 9})


class Placement:
    """FC kernels go to the processing units when RLP × TLP > α, else to FC-PIM."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._alpha = options.threshold("default")

    def place(self, view: PlacementView) -> str:
        """Return the side of the threshold that RLP × TLP is on."""
        options = self._options
        return options.processing_unit if view.rows > self._alpha else options.pim
