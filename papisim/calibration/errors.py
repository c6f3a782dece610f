"""How far predictions are off what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from papisim.arrays import Floats


@dataclass(frozen=True)
class Errors:
    """Relative errors of predictions, as ratios.

    Attributes:
        n: how many kernels.
        mape: mean of the absolute errors.
        p95: their 95th percentile.
        bias: mean of the errors; negative is too fast.
    """

    n: int
    mape: float
    p95: float
    bias: float

    def __str__(self) -> str:
        return f"MAPE {self.mape:.1%}, p95 {self.p95:.1%}, bias {self.bias:+.1%} over {self.n:,}"


def errors_of(predicted: Floats, measured: Floats) -> Errors:
    """Return the errors of predictions."""
    errors = predicted / measured - 1
    magnitude = np.abs(errors)
    return Errors(len(errors), float(magnitude.mean()), float(np.quantile(magnitude, 0.95)), float(errors.mean()))
