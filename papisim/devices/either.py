"""Arithmetic that takes a number or an array, so that one formula serves one kernel and a table of thousands.

NumPy's functions cost a microsecond on a single number; those of :mod:`math` a twentieth of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: a float, or an array of them; the functions here keep which it is
Either = Any


def ceil(value: Either) -> Either:
    """Round up."""
    return np.ceil(value) if isinstance(value, np.ndarray) else math.ceil(value)


def whole(value: Either) -> Either:
    """Round up to whole numbers, which :func:`ceil` leaves floats in an array."""
    return np.ceil(value).astype(np.int64) if isinstance(value, np.ndarray) else math.ceil(value)


def larger(one: Either, other: Either) -> Either:
    """Return the larger of two, entry by entry."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.maximum(one, other)
    return max(one, other)


def smaller(one: Either, other: Either) -> Either:
    """Return the smaller of two, entry by entry."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.minimum(one, other)
    return min(one, other)


def choose(condition: Either, yes: Either, no: Either) -> Either:
    """Return one of two by a condition, entry by entry."""
    if isinstance(condition, np.ndarray):
        return np.where(condition, yes, no)
    return yes if condition else no


def least(options: Either) -> Either:
    """Return the least of several options, which stand along the last axis; a number has no other."""
    return options.min(axis=-1) if isinstance(options, np.ndarray) else options


def as_column(values: Any) -> NDArray[np.float64]:
    """Return values as a column, which broadcasts against options in a row."""
    return np.atleast_1d(np.asarray(values, dtype=np.float64))[:, None]
