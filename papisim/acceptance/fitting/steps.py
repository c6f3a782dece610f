"""Steps of many turns in flat arrays, and which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from papisim.acceptance.log import Turn
from papisim.arrays import Ints


@dataclass(frozen=True)
class Steps:
    """Steps of turns, one turn after the other.

    Attributes:
        accepted: drafted tokens accepted in each step.
        drafted: draft length of each step; -1 where unknown.
        lengths: steps of each turn.
    """

    accepted: Ints
    drafted: Ints
    lengths: Ints

    @property
    def turn(self) -> Ints:
        """The turn of each step, from 0."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def starts(self) -> Ints:
        """The first step of each turn."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]])


def kept(turn: Turn, max_steps: int | None = None) -> int:
    """Return the number of a turn's steps that count: all but the last, which the end of the answer may have cut.

    A turn of one step keeps it; a turn cut at ``max_steps`` keeps that many, none of which is its last.
    """
    steps = len(turn.accepted)
    whole = max(1, steps - 1)
    return whole if max_steps is None else min(whole, max_steps)


def gather(turns: Sequence[Turn], max_steps: int | None = None) -> Steps:
    """Put the steps of turns that count into flat arrays."""
    lengths = [kept(turn, max_steps) for turn in turns]
    accepted = [turn.accepted[:n] for turn, n in zip(turns, lengths, strict=True)]
    drafted = [turn.drafted[:n] for turn, n in zip(turns, lengths, strict=True)]
    return Steps(np.concatenate(accepted), np.concatenate(drafted), np.array(lengths))
