"""Names for the arrays that pass between modules."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: a whole number, or an array of them: what goes in comes out
IntOrArray = TypeVar("IntOrArray", int, Ints)
