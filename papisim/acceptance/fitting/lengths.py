"""How long drafts were in a log, as a rule by which simulated drafts get their lengths.

A fixed length stays. An adaptive length follows what the log's own policy did next after a draft of the same length with
the same outcome, as often as it did so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from papisim.acceptance.fitting.steps import Steps
from papisim.acceptance.log import Turn
from papisim.arrays import Floats, Ints

_ENOUGH = 20  # transitions of one length and outcome before they speak for themselves


def is_adaptive(turns: Sequence[Turn]) -> bool:
    """Tell whether draft lengths change within turns."""
    return any(turn.drafted.min() != turn.drafted.max() for turn in turns)


def fixed_lengths(turns: Sequence[Turn], longest: int) -> Ints:
    """Return each turn's draft length; the longest acceptance of the source where the log does not know it."""
    return np.array([longest if turn.drafted[0] < 0 else turn.drafted[0] for turn in turns])


class LengthRule:
    """Draws the next draft length from the last one and what was accepted of it.

    What followed the same length with the same acceptance decides, where the log has it often enough; else what followed the
    same length, fully or partly accepted; else by how much lengths changed after full or partial acceptance.
    """

    def __init__(self, steps: Steps, longest: int) -> None:
        drafted = np.where(steps.drafted < 0, longest, steps.drafted)
        same = steps.turn[1:] == steps.turn[:-1]
        before, after, accepted = drafted[:-1][same], drafted[1:][same], steps.accepted[:-1][same]
        self._longest = max(1, int(drafted.max()))
        self._shortest = int(drafted.min())
        self._first = drafted[steps.starts]
        self._exact: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
        self._fully: dict[tuple[int, bool], Counter[int]] = defaultdict(Counter)
        self._change: dict[bool, Counter[int]] = defaultdict(Counter)
        for length, right, following in zip(before.tolist(), accepted.tolist(), after.tolist(), strict=True):
            self._exact[length, right][following] += 1
            self._fully[length, right >= length][following] += 1
            self._change[right >= length][following - length] += 1
        self._table = self._tabulate()

    def _tabulate(self) -> Ints:
        """Return ``[length, accepted, quantile]``: the following lengths at evenly spaced quantiles."""
        size = self._longest + 1
        table = np.zeros((size, size, _ENOUGH), dtype=np.int64)
        for length in range(size):
            for right in range(length + 1):
                ordered = np.sort(np.fromiter(self._seen(length, right).elements(), dtype=np.int64))
                middle = (np.arange(_ENOUGH) + 0.5) / _ENOUGH * len(ordered)
                table[length, right] = ordered[middle.astype(np.int64)]
        return table

    def _seen(self, length: int, right: int) -> Counter[int]:
        full = right >= length
        for seen in (self._exact.get((length, right)), self._fully.get((length, full))):
            if seen is not None and seen.total() >= _ENOUGH:
                return seen
        moves = self._change.get(full) or Counter({0: 1})
        return Counter({min(max(length + move, self._shortest), self._longest): n for move, n in moves.items()})

    def first(self, uniform: Floats) -> Ints:
        """Return first draft lengths."""
        return self._first[(uniform * len(self._first)).astype(np.int64)]

    def following(self, drafted: Ints, accepted: Ints, uniform: Floats) -> Ints:
        """Return the draft lengths after steps of given lengths and acceptances."""
        following: Ints = self._table[drafted, accepted, (uniform * _ENOUGH).astype(np.int64)]
        return following
