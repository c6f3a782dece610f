"""One comparison of results for all properties that promise equal figures."""

import math
from collections.abc import Callable
from typing import Any

import pytest

#: figures agree to it
RELATIVE = 1e-9
#: below it a figure is nothing: seconds and joules of a run are many orders above
NOTHING = 1e-13


def _differences(one: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return [f"{path}: {sorted(one.keys() ^ other.keys())} on one side only"]
        return [text for key in one for text in _differences(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return [f"{path}: {len(one)} and {len(other)} entries"]
        pairs = enumerate(zip(one, other, strict=True))
        return [text for i, pair in pairs for text in _differences(*pair, f"{path}[{i}]")]
    if isinstance(one, float) and isinstance(other, float):
        same = math.isclose(one, other, rel_tol=RELATIVE, abs_tol=NOTHING) or (math.isnan(one) and math.isnan(other))
    else:
        same = one == other
    return [] if same else [f"{path}: {one!r} and {other!r}"]


@pytest.fixture(scope="session")
def differences() -> Callable[[Any, Any], list[str]]:
    """Return a function that lists where two results differ by more than rounding."""
    return _differences
