"""PAPI's scheduler: compare the estimated arithmetic intensity with a threshold (PAPI, Section 5).

The arithmetic intensity of an FC kernel tends to RLP × TLP (eq. 2), which is known before the kernel runs. Above α the
processing units are faster, up to α FC-PIM is. α belongs to a machine and a model: it is found offline (``papisim calibrate alpha``), or when
an experiment is loaded (:mod:`papisim.calibration.alpha`). Attention and drafts stay at home: PAPI moves the target's FC alone.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from pydantic import Field, field_validator

from papisim.config.base import NonNegative, Spec
from papisim.errors import InputError
from papisim.kinds import Example
from papisim.policies.placement.base import PlacementOptions, PlacementView

#: a threshold, one by model, or that it is to be calibrated
Alpha: TypeAlias = 'Literal["auto"] | float | dict[str, float]'


class Calibrated(Spec):
    """An α that was calibrated.

    Attributes:
        alpha: the threshold, in token-rows.
        stamp: hash of the machine, the model and the α (:func:`papisim.calibration.alpha.stamp`), by which it is known for whom it holds.
    """

    alpha: NonNegative
    stamp: str


class Options(PlacementOptions):
    """Options of PAPI's scheduler.

    Attributes:
        processing_unit: device for compute-bound FC kernels.
        pim: device for memory-bound FC kernels.
        alpha: threshold on RLP × TLP, in token-rows: ``auto``, calibrated for the machine and the model; or as given, one for all models
            or by model.
        calibrated: α of this machine by model, as ``papisim calibrate alpha --out`` writes them; ``auto`` takes one whose stamp fits.
    """

    tuner: ClassVar[str | None] = "papisim.calibration.alpha:tune"

    kind: Literal["papi"]
    processing_unit: str
    pim: str
    alpha: Literal["auto"] | NonNegative | dict[str, NonNegative] = "auto"
    calibrated: dict[str, Calibrated] = Field(default_factory=dict, exclude=True)

    @field_validator("alpha")
    @classmethod
    def _has_default(cls, value: Alpha) -> Alpha:
        if isinstance(value, dict) and "default" not in value:
            raise ValueError("found thresholds by model without a 'default', expected one for all other models")
        return value

    def devices(self) -> dict[str, str]:
        """Return both sides, which must run FC kernels."""
        return {"processing_unit": self.processing_unit, "pim": self.pim}

    def for_model(self, name: str) -> Options:
        """Return the options with the one threshold that is given for a model; ``auto`` stays as it is."""
        alpha = self.alpha.get(name, self.alpha["default"]) if isinstance(self.alpha, dict) else self.alpha
        return self.model_copy(update={"alpha": alpha})


EXAMPLE = Example({"processing_unit": "gpu", "pim": "fc_pim", "alpha": 9})


class Placement:
    """FC kernels of the target model go to the processing units when RLP × TLP > α, else to FC-PIM."""

    def __init__(self, options: Options) -> None:
        alpha = options.for_model("default").alpha
        if not isinstance(alpha, float):
            raise InputError(f"placement.alpha: found {alpha}, which no calibration has replaced by a number")
        self._options, self._alpha = options, alpha

    def place(self, view: PlacementView) -> str:
        """Return the side of the threshold that RLP × TLP is on; the home of an operator that is not target FC."""
        options = self._options
        if not view.operator.is_of_target_fc:
            return view.candidates[0]
        return options.processing_unit if view.rows > self._alpha else options.pim
