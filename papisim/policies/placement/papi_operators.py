"""PAPI's rule for every operator: compare its estimated arithmetic intensity with a threshold of its own.

PAPI moves the target's FC by RLP × TLP (PAPI, Section 5). The same comparison places any operator, once its intensity is that of what
it reads: TLP × query heads per KV head for attention, the expected rows of an expert for experts, RLP for a step of a draft model.

The ridge of attention depends on the batch, too. PIM deals caches out to its channels by request and KV head, in rounds: a round that
is not full leaves channels idle, while a GPU splits a long cache; and with the caches, since a launch takes longer than attention to
short ones. Its threshold is therefore a table: for each intensity and length, the requests at which the faster side changes. The
ridge of FC depends on the kernel, as a launch takes longer than a small one: its thresholds may be by role, and by size.

Thresholds belong to a machine, a model and an operator, and are calibrated (:mod:`papisim.calibration.operators`). Where FC alone has
several devices, the policy is ``papi``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self, TypeAlias

from pydantic import Field, NonNegativeInt, PrivateAttr, field_validator

from papisim.config.base import NonNegative, Spec
from papisim.errors import InputError
from papisim.kinds import Example
from papisim.ops.kernel import Attention, FcRole, Linear
from papisim.policies.placement.base import Operator, PlacementOptions, PlacementView


class Level(Spec):
    """A row of a threshold that depends on the batch.

    Attributes:
        intensity: least intensity that the row is for, in token-rows per number read.
        tokens: least tokens of a mean cache that the row is for.
        requests: requests from which on the operator stays on PIM; or those at which it changes sides, ascending: on PIM from the first
            on, off it from the second, and so forth; never on PIM, if None.
    """

    intensity: NonNegative
    tokens: NonNegative = 0.0
    requests: NonNegativeInt | list[NonNegativeInt] | None = None

    @property
    def changes(self) -> list[int]:
        """Requests at which the operator changes sides, off PIM before the first."""
        if self.requests is None:
            return []
        return [self.requests] if isinstance(self.requests, int) else self.requests

    @field_validator("requests")
    @classmethod
    def _ascend(cls, value: int | list[int] | None) -> int | list[int] | None:
        if isinstance(value, list) and value != sorted(set(value)):
            raise ValueError(f"found {value}, expected requests to ascend")
        return value


#: the highest intensity on PIM of the FC kernels of a role: of all of them, or from each size (numbers in the weights, k·n) on
BySize: TypeAlias = NonNegative | dict[NonNegativeInt, NonNegative]
#: the highest intensity of an operator on PIM; that of the FC kernels of each role; or a table by intensity
Threshold: TypeAlias = NonNegative | dict[FcRole, BySize] | list[Level]


class Calibrated(Spec):
    """Thresholds that were calibrated, by model.

    Attributes:
        file: the table of thresholds, as ``papisim calibrate operators --out`` writes it.
        stamps: by model, the hash of the thresholds, the machine and the model (:func:`papisim.calibration.thresholds.stamp`), by which it
            is known for whom they hold.
    """

    file: str
    stamps: dict[str, str]


class Options(PlacementOptions):
    """Options of the thresholds by operator.

    Attributes:
        processing_unit: device for compute-bound operators.
        pim: device for memory-bound FC kernels of the target; other operators go to their first candidate that is not the
            processing unit.
        thresholds: by operator, the highest intensity at which it stays on PIM, in token-rows per number read; the same for each role of
            FC kernels, or for each size (numbers in the weights) from which on it holds; or a table, ascending by intensity and then by tokens; an operator that is
            not named stays at home. ``auto`` calibrates all that have several devices.
        fc_by_role: whether ``auto`` finds a threshold for each role of FC kernels, and for each size where a role has several (Q is larger
            than K and V of grouped queries), which on ranks of many GPUs cross at different rows; with one for all of them FC is placed as
            ``papi`` places it.
        calibrated: thresholds of this machine by model; ``auto`` takes those whose stamp fits.
    """

    tuner: ClassVar[str | None] = "papisim.calibration.thresholds:tune"

    kind: Literal["papi_operators"]
    processing_unit: str
    pim: str
    thresholds: Literal["auto"] | dict[Operator, Threshold] = "auto"
    fc_by_role: bool = False
    calibrated: Calibrated | None = Field(default=None, exclude=True)
    _found: Mapping[Operator, Threshold] | None = PrivateAttr(default=None)

    def with_found(self, thresholds: Mapping[Operator, Threshold]) -> Self:
        """Return the options with the thresholds that ``auto`` has found, which no dump of the options has."""
        copy = self.model_copy()
        copy._found = thresholds
        return copy

    @property
    def in_use(self) -> Mapping[Operator, Threshold]:
        """The thresholds that are given, or that ``auto`` has found.

        Raises:
            InputError: ``auto``, and nothing was calibrated.
        """
        found = self._found if self.thresholds == "auto" else self.thresholds
        if found is None:
            raise InputError("placement.thresholds: found auto, which no calibration has replaced by numbers")
        return found

    @field_validator("thresholds")
    @classmethod
    def _ascending(cls, value: Literal["auto"] | dict[Operator, Threshold]) -> object:
        for operator, threshold in value.items() if isinstance(value, dict) else ():
            rows = [(row.intensity, row.tokens) for row in threshold] if isinstance(threshold, list) else []
            if rows != sorted(set(rows)):
                raise ValueError(f"found rows {rows} of '{operator}', expected intensity and tokens to ascend")
        return value

    def devices(self) -> dict[str, str]:
        """Return both sides, which must run FC kernels."""
        return {"processing_unit": self.processing_unit, "pim": self.pim}


EXAMPLE = Example(
    {
        "processing_unit": "gpu",
        "pim": "fc_pim",
        "thresholds": {"fc": 9, "attention": [{"intensity": 0, "requests": 1}, {"intensity": 16, "requests": 32}]},
    }
)


class Placement:
    """An operator goes to the processing units when its intensity exceeds its threshold, else to PIM."""

    def __init__(self, options: Options) -> None:
        self._options, self._thresholds = options, options.in_use

    def place(self, view: PlacementView) -> str:
        """Return the side of the operator's threshold that its intensity is on; its home without a threshold."""
        threshold = self._thresholds.get(view.operator)
        if isinstance(threshold, dict):
            threshold = _by_size(threshold, view.kernel) if isinstance(view.kernel, Linear) else None
        if threshold is None:
            return view.candidates[0]
        units = self._options.processing_unit
        if _exceeds(threshold, view):
            return units if units in view.candidates else view.candidates[0]
        return self._pim(view)

    def _pim(self, view: PlacementView) -> str:
        pim = self._options.pim
        if pim in view.candidates:
            return pim
        return next((each for each in view.candidates if each != self._options.processing_unit), view.candidates[0])


def _exceeds(threshold: float | Sequence[Level], view: PlacementView) -> bool:
    if isinstance(threshold, float):
        return view.intensity > threshold
    return bisect_right(_row(threshold, view).changes, view.rlp) % 2 == 0


def _by_size(roles: Mapping[FcRole, BySize], kernel: Linear) -> float | None:
    """Return the threshold of an FC kernel: that of the last size at or below its own, or else the first."""
    own = roles.get(kernel.role)
    if not isinstance(own, dict):
        return own
    sizes = sorted(own)
    return own[sizes[max(1, bisect_right(sizes, kernel.k * kernel.n)) - 1]]


def _row(threshold: Sequence[Level], view: PlacementView) -> Level:
    """Return the last row that begins at or below the view's intensity and mean cache, or else the first of either."""
    below = threshold[max(1, bisect_right(threshold, view.intensity, key=lambda row: row.intensity)) - 1]
    first = bisect_left(threshold, below.intensity, key=lambda row: row.intensity)
    alike = threshold[first : bisect_right(threshold, below.intensity, key=lambda row: row.intensity)]
    tokens = view.kernel.kv_tokens / view.kernel.n_requests if isinstance(view.kernel, Attention) else 0.0
    return alike[max(1, bisect_right(alike, tokens, key=lambda row: row.tokens)) - 1]
