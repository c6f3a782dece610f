"""Intervals for a group that was not seen: errors that differ between groups, and within them.

Errors of a group scatter by ``s`` around its mean, and means of groups by ``τ`` around ``μ`` (a one-way random-effects model, with the moment
estimator of ``τ²``: Searle, Casella and McCulloch, Variance Components, 1992, Section 3.6, groups counting equally). An error of a further
group is then in ``μ ± √(t²·(τ²·(1 + 1/G) + s²/N) + z²·s²)``, N errors in all, with ``t`` of ``G − 1`` degrees of freedom: groups are few, their errors many.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from papisim.arrays import Floats
from papisim.uncertainty.factor import COVERAGE

_Z = NormalDist().inv_cdf((1 + COVERAGE) / 2)


class Effects(NamedTuple):
    """Errors of a further group: the mean, and half widths of 90 % intervals between groups and within one."""

    mean: float
    between: float
    within: float

    @property
    def half_width(self) -> float:
        """Half width of the interval of one error of a further group."""
        return float(np.hypot(self.between, self.within))

    def holds(self, errors: Floats) -> float:
        """Return the share of errors within the interval."""
        return float((np.abs(errors - self.mean) <= self.half_width).mean())


def effects(groups: Sequence[Floats]) -> Effects:
    """Return the effects of at least three groups of errors.

    Raises:
        ValueError: there are fewer, from which no spread between groups can be told.
    """
    n_groups = len(groups)
    if n_groups < 3:  # noqa: PLR2004 - two degrees of freedom
        raise ValueError(f"found {n_groups} groups of errors, expected at least 3")
    means = np.array([errors.mean() for errors in groups])
    variances = np.array([errors.var(ddof=1) if len(errors) > 1 else np.nan for errors in groups])
    within = float(np.nanmean(variances)) if np.isfinite(variances).any() else 0.0
    of_means = float(np.mean([within / len(errors) for errors in groups]))
    between = max(0.0, float(means.var(ddof=1)) - of_means)
    spread = (between * (1 + 1 / n_groups) + within / sum(map(len, groups))) ** 0.5
    return Effects(float(means.mean()), _t(n_groups - 1) * spread, _Z * within**0.5)


def _t(freedom: int) -> float:
    """Return the 95 % quantile of Student's t (Abramowitz and Stegun, 26.7.5)."""
    z, f = _Z, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * f)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * f**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * f**3)
    )
