"""Means and percentiles of what is observed one by one: exact, or in bounded memory."""

from __future__ import annotations

import math
from array import array
from typing import Protocol

import numpy as np

from papisim.arrays import Floats
from papisim.errors import MissingExtra

#: relative error of a percentile that a sketch returns
SKETCH_ACCURACY_RATIO = 0.001
#: values that a sketch takes in at once
_SKETCHED_AT_ONCE = 10_000


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
        """Observe values, each with a number of occurrences."""

    def percentile(self, percent: float) -> float:
        """Return the value that a given percentage does not exceed, linear between two; NaN of none."""


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
        """Observe values, each with a number of occurrences."""
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
            from ddsketch.mapping import LogarithmicMapping  # noqa: PLC0415
        except ImportError:
            raise MissingExtra("--metrics streaming", "ddsketch", "streaming") from None
        self._sketch, self._mapping = DDSketch(SKETCH_ACCURACY_RATIO), LogarithmicMapping(SKETCH_ACCURACY_RATIO)
        self._waiting: list[tuple[Floats, int]] = []
        self._n_waiting = 0
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        """Observe a value."""
        self.add_all(np.array([value]))

    def add_all(self, values: Floats, times: int = 1) -> None:
        """Observe values, each with a number of occurrences."""
        self._waiting.append((values, times))
        self._n_waiting += len(values)
        if self._n_waiting >= _SKETCHED_AT_ONCE or len(self._waiting) >= _SKETCHED_AT_ONCE:
            self._settle()

    def _settle(self) -> None:
        """Count what has been observed into buckets: all at once, since one by one takes a microsecond each."""
        if not self._waiting:
            return
        values = np.concatenate([each for each, _ in self._waiting])
        times = np.repeat([times for _, times in self._waiting], [len(each) for each, _ in self._waiting])
        self._waiting, self._n_waiting = [], 0
        self._sum += float((values * times).sum())
        self._count += int(times.sum())
        positive = values > self._mapping.min_possible
        keys = np.ceil(np.log(values[positive]) / math.log(self._mapping.gamma)).astype(np.int64)
        different, place = np.unique(keys, return_inverse=True)
        for key, count in zip(different.tolist(), np.bincount(place, times[positive]).tolist(), strict=True):
            self._sketch.add(self._mapping.value(key), count)
        if not positive.all():
            self._sketch.add(0.0, float(times[~positive].sum()))

    @property
    def n_values(self) -> int:
        """How many were observed."""
        self._settle()
        return self._count

    @property
    def mean(self) -> float:
        """Their mean, which is exact; NaN of none."""
        return self._sum / self.n_values if self.n_values else float("nan")

    def percentile(self, percent: float) -> float:
        """Return a percentile; NaN of none."""
        self._settle()
        value = self._sketch.get_quantile_value(percent / 100)
        return float("nan") if value is None else float(value)
