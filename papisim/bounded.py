"""Caches whose memory does not grow with the length of a run."""

from __future__ import annotations

from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedDict(dict[Key, Value]):
    """A cache filled by item assignment, and emptied when a further key would exceed its size.

    Whatever is dropped is computed again when it is next asked for, so the bound changes speed and no result. Emptying
    costs nothing per look-up; an order of use would.

    Args:
        most: entries kept at once.

    Raises:
        ValueError: the bound is below 1.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"found a bound of {most} entries, expected at least 1")
        super().__init__()
        self._most = most

    def __setitem__(self, key: Key, value: Value) -> None:
        if len(self) >= self._most and key not in self:
            self.clear()
        super().__setitem__(key, value)
