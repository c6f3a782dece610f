"""Means and percentiles of what is observed one by one: exact, or in bounded memory."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Protocol

import numpy as np

from papisim.devices.base import Floats
from papisim.errors import MissingExtra

#: relative error of a percentile that a sketch returns
SKETCH_ACCURACY_RATIO = 0.001


class Distribution(Protocol):
    """Values with how often each was observed."""

    @property
    def n_values(self) -> int:
        """How many were observed."""

    @property
    def mean(self) -> float:
        """Their mean; NaN of none."""

    def add(self, value: float) -> None:
        """Observe a value."""

    def add_all(self, values: Floats, times: int = 1) -> None:
        """Observe values, each so many times."""

    def percentile(self, percent: float) -> float:
        """Return the value that so many percent do not exceed, linear between two; NaN of none."""


class Exact:
    """Keeps every value; what was observed several times at once is kept once."""

    def __init__(self) -> None:
        self._single = array("d")
        self._many: list[tuple[Floats, int]] = []
        self._sorted: tuple[int, Floats, Floats] | None = None

    def add(self, value: float) -> None:
        """Observe a value."""
        self._single.append(value)

    def add_all(self, values: Floats, times: int = 1) -> None:
        """Observe values, each so many times."""
        self._many.append((values, times))

    def _in_order(self) -> tuple[Floats, Floats]:
        """Return the values in ascending order, and how many were observed up to each."""
        if self._sorted is not None and self._sorted[0] == self.n_values:
            return self._sorted[1:]
        parts = [(np.frombuffer(self._single), 1), *self._many] if self._single else self._many
        if not parts:
            return np.zeros(0), np.zeros(0)
        values = np.concatenate([part for part, _ in parts])
        times = np.repeat([times for _, times in parts], [len(part) for part, _ in parts])
        order = np.argsort(values)
        ascending, observed = values[order], np.cumsum(times[order], dtype=np.float64)
        self._sorted = (self.n_values, ascending, observed)
        return ascending, observed

    @property
    def n_values(self) -> int:
        """How many were observed."""
        return len(self._single) + sum(len(values) * times for values, times in self._many)

    @property
    def mean(self) -> float:
        """Their mean; NaN of none."""
        total = sum(self._single) + sum(float(values.sum()) * times for values, times in self._many)
        return total / self.n_values if self.n_values else float("nan")

    def percentile(self, percent: float) -> float:
        """Return a percentile as :func:`numpy.percentile` has it; NaN of none."""
        values, observed = self._in_order()
        if not len(values):
            return float("nan")
        place = (observed[-1] - 1) * percent / 100
        low, high = (values[np.searchsorted(observed, side(place), side="right")] for side in (np.floor, np.ceil))
        return float(low + (high - low) * (place - np.floor(place)))


class Sketch:
    """Keeps counts in buckets of equal relative width (Masson et al., DDSketch, VLDB 2019).

    A percentile is off by :data:`SKETCH_ACCURACY_RATIO` of its value at most.

    Raises:
        MissingExtra: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from ddsketch import DDSketch  # noqa: PLC0415 - an optional package
        except ImportError:
            raise MissingExtra("--metrics streaming", "ddsketch", "streaming") from None
        self._sketch = DDSketch(SKETCH_ACCURACY_RATIO)

    def add(self, value: float) -> None:
        """Observe a value."""
        self._sketch.add(value)

    def add_all(self, values: Floats, times: int = 1) -> None:
        """Observe values, each so many times."""
        for value, count in Counter(values.tolist()).items():
            self._sketch.add(value, count * times)

    @property
    def n_values(self) -> int:
        """How many were observed."""
        return int(self._sketch.count)

    @property
    def mean(self) -> float:
        """Their mean, which is exact; NaN of none."""
        return float(self._sketch.avg) if self._sketch.count else float("nan")

    def percentile(self, percent: float) -> float:
        """Return a percentile; NaN of none."""
        value = self._sketch.get_quantile_value(percent / 100)
        return float("nan") if value is None else float(value)
