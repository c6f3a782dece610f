"""Which points no other is better than."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def as_losses(values: Sequence[Sequence[float]], maximise: Sequence[bool]) -> np.ndarray:
    """Return objectives, a row each point, so that less is better in each."""
    return np.asarray(values, dtype=float).reshape(-1, len(maximise)) * np.where(maximise, -1.0, 1.0)


def front(losses: np.ndarray) -> np.ndarray:
    """Return which rows no other dominates: is at least as good in all columns, and better in one."""
    return np.array([not _is_dominated(row, losses) for row in losses], dtype=bool)


def _is_dominated(row: np.ndarray, losses: np.ndarray) -> bool:
    return bool(np.any(np.all(losses <= row, axis=1) & np.any(losses < row, axis=1)))


def best(losses: np.ndarray, count: int) -> list[int]:
    """Return the indices of a given number of rows: those of the front first, then of the front of the rest, and so on."""
    chosen: list[int] = []
    left = np.arange(len(losses))
    while len(left) and len(chosen) < count:
        is_front = front(losses[left])
        chosen += left[is_front].tolist()
        left = left[~is_front]
    return chosen[:count]
