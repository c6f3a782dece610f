"""Steps of many turns in flat arrays, and which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from papisim.acceptance.log import Turn
from papisim.arrays import Ints
from papisim.errors import InputError


@dataclass(frozen=True)
class Steps:
    """Steps of turns, one turn after the other.

    Attributes:
        accepted: drafted tokens accepted in each step.
        drafted: draft length of each step; -1 where unknown.
        lengths: steps of each turn.
        ordered: whether the steps of all turns are in the order in which they were made.
    """

    accepted: Ints
    drafted: Ints
    lengths: Ints
    ordered: bool = True

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

    A turn of one step keeps it; a turn cut at ``max_steps`` keeps that many, none of which is its last. A histogram keeps all its
    steps, the last one too, which is not known.

    Raises:
        InputError: the first steps of a histogram are asked for, whose order is not known.
    """
    steps = len(turn.accepted)
    if not turn.ordered:
        if max_steps is not None:
            raise InputError(
                f"source {turn.source} has histograms, whose first steps are not known", field="--max-steps"
            )
        return steps
    whole = max(1, steps - 1)
    return whole if max_steps is None else min(whole, max_steps)


def gather(turns: Sequence[Turn], max_steps: int | None = None) -> Steps:
    """Put the steps of turns that count into flat arrays."""
    lengths = [kept(turn, max_steps) for turn in turns]
    accepted = [turn.accepted[:n] for turn, n in zip(turns, lengths, strict=True)]
    drafted = [turn.drafted[:n] for turn, n in zip(turns, lengths, strict=True)]
    ordered = all(turn.ordered for turn in turns)
    return Steps(np.concatenate(accepted), np.concatenate(drafted), np.array(lengths), ordered)
