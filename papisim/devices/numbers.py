"""Arithmetic that takes a number or an array, so that one formula serves one kernel and a table of thousands.

NumPy's functions cost a microsecond on a single number; those of :mod:`math` a twentieth of it.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from papisim.arrays import Bools, Floats

#: an array of numbers; NumPy's arithmetic does not keep track of the width of an element
Array: TypeAlias = NDArray[Any]
#: a whole number, or an array of whole numbers
Whole: TypeAlias = int | Array
#: a number, or an array of numbers; a formula of numbers alone returns a number
Number: TypeAlias = float | Array
#: a condition, or an array of conditions
Condition: TypeAlias = bool | Bools
#: numbers or whole numbers: what goes in comes out
NumberT = TypeVar("NumberT", Whole, Number)


def ceil(value: Number) -> Number:
    """Round up; entries of an array remain floats."""
    return np.ceil(value) if isinstance(value, np.ndarray) else math.ceil(value)


def whole(value: Number) -> Whole:
    """Round up to whole numbers, entries of an array included."""
    return np.ceil(value).astype(np.int64) if isinstance(value, np.ndarray) else math.ceil(value)


def larger(one: NumberT, other: NumberT) -> NumberT:
    """Return the larger of two, entry by entry."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.maximum(one, other)
    return max(one, other)


def smaller(one: NumberT, other: NumberT) -> NumberT:
    """Return the smaller of two, entry by entry."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.minimum(one, other)
    return min(one, other)


def choose(condition: Condition, yes: NumberT, no: NumberT) -> NumberT:
    """Return one of two by a condition, entry by entry."""
    if isinstance(condition, np.ndarray):
        return np.where(condition, yes, no)
    return yes if condition else no


def least(options: Number) -> Number:
    """Return the least of several options along the last axis; a number has no other option."""
    return cast("Array", options.min(axis=-1)) if isinstance(options, np.ndarray) else options


def each(values: Number) -> float:
    """Type values as one number, for formulas that are written for a number and hold for each entry of an array."""
    return cast("float", values)


def as_column(values: ArrayLike) -> Floats:
    """Return values as a column, which broadcasts against options in a row."""
    return np.atleast_1d(np.asarray(values, dtype=np.float64))[:, None]
