"""Check a fit on turns it has not seen.

The turns of a source are split in two by one seed. What a log's statistics are worth is limited by its turns: a few dozen of
them fix the mean to some per cent, and one answer that runs into a loop can carry half of the spread. A plain random split
then compares two different samples, whatever the process. So there are two ways to split:

- ``random``: every turn falls where the seed says, as many per task on either side as is asked for;
- ``balanced``: of many random splits that part neighbours in level, the one whose sides agree best in the statistics
  themselves, so that what is compared is the process and not the luck of the draw. It looks at what turns yielded, not at
  any fit; but it says nothing on how well the next log's requests are foreseen. ``random`` and the standard errors do.

Either way the process is fitted to one side alone, and the result has the standard errors of both sides' statistics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from papisim.acceptance.fitting.estimate import fit, longest_draft, positions_shown
from papisim.acceptance.fitting.simulate import length_rule, plan, simulate
from papisim.acceptance.fitting.statistics import Statistics, Weighing, measure, sampling_error
from papisim.acceptance.fitting.steps import gather
from papisim.acceptance.log import Turn
from papisim.arrays import Bools
from papisim.errors import InputError
from papisim.streams import stream

Split = Literal["balanced", "random"]

#: what a fit is asked to meet: shares of the value for the first two, differences for the others
TOLERANCE = {"tokens_per_step": 0.03, "spread": 0.15, "lag1_autocorrelation": 0.08, "S_j": 0.03}

_CANDIDATES = 200
_MOVES = 2000
_SIMULATED_STEPS = 300_000
_MAX_DENOMINATOR = 10


@dataclass(frozen=True)
class Check:
    """Statistics of held-out turns as logged, and as the process fitted to the others simulates their requests.

    Attributes:
        fitted_to: statistics of the turns the process was fitted to.
        measured: of the held-out turns.
        measured_error: standard errors of ``measured``, were the turns drawn anew.
        simulated: of the process on the held-out turns' requests: their answers' lengths and draft lengths.
    """

    fitted_to: Statistics
    measured: Statistics
    measured_error: Statistics
    simulated: Statistics


def check(
    turns: Sequence[Turn], holdout: float, seed: int, split: Split = "balanced", max_steps: int | None = None
) -> Check:
    """Fit to some turns of a source and compare on the others.

    Args:
        turns: of one source.
        holdout: share of the turns that is held out.
        seed: of the split and the simulations.
        split: how turns are split.
        max_steps: steps of a turn that count, if not all.
    """
    if not all(turn.ordered for turn in turns):
        raise InputError(
            f"source {turns[0].source} has histograms, which do not tell the correlations that are compared"
        )
    out = held_out(turns, holdout, seed, split, max_steps)
    seen = [turn for turn, is_out in zip(turns, out, strict=True) if not is_out]
    unseen = [turn for turn, is_out in zip(turns, out, strict=True) if is_out]
    longest, shown = longest_draft(turns), positions_shown(turns)
    result = fit(seen, seed, max_steps)
    steps = gather(unseen, max_steps)
    requests = plan(unseen, length_rule(seen, longest), longest, max_steps)
    requests = requests.repeated(max(1, round(_SIMULATED_STEPS / len(steps.accepted))))
    return Check(
        fitted_to=measure(gather(seen, max_steps), shown),
        measured=measure(steps, shown),
        measured_error=sampling_error(steps, shown, stream(seed, "bootstrap")),
        simulated=measure(simulate(result.parameters, requests, (seed, 0xC4EC)), shown),
    )


def held_out(turns: Sequence[Turn], holdout: float, seed: int, split: Split, max_steps: int | None = None) -> Bools:
    """Tell of each turn whether it is held out; at least one is, and at least one is not."""
    rng = stream(seed, "holdout")
    if split == "random":
        return _random_split(turns, holdout, rng)
    return _Balancing(turns, holdout, rng, max_steps).best()


def _random_split(turns: Sequence[Turn], holdout: float, rng: np.random.Generator) -> Bools:
    out = np.zeros(len(turns), dtype=bool)
    for members in _by_task(turns):
        out[rng.permutation(members)[: round(holdout * len(members))]] = True
    return _non_empty(out)


class _Balancing:
    """Searches the split whose halves agree best: random ones first, then neighbours of the best one."""

    def __init__(
        self, turns: Sequence[Turn], holdout: float, rng: np.random.Generator, max_steps: int | None
    ) -> None:
        self._rng, self._n_turns = rng, len(turns)
        self._share = Fraction(holdout).limit_denominator(_MAX_DENOMINATOR)
        steps = gather(turns, max_steps)
        self._weighing = Weighing(steps, positions_shown(turns))
        self._lengths, self._shortness = steps.lengths, 1 / steps.lengths
        self._tasks = _by_task(turns)
        self._blocks = [block for members in self._tasks for block in self._neighbours(turns, members)]

    def best(self) -> Bools:
        candidates = np.stack([self._draw() for _ in range(_CANDIDATES)])
        distances = self._distances(candidates)
        split: Bools = candidates[int(np.argmin(distances))]
        least = float(distances.min())
        for _ in range(_MOVES):
            moved = self._swap(split)
            distance = float(self._distances(moved[None])[0])
            if distance < least:
                split, least = moved, distance
        return split

    def _neighbours(self, turns: Sequence[Turn], members: list[int]) -> list[NDArray[np.int64]]:
        """Return blocks of turns of one task that are neighbours in level; the share's denominator is their size."""
        ordered = np.array(sorted(members, key=lambda index: float(turns[index].accepted.mean())))
        return [
            ordered[start : start + self._share.denominator]
            for start in range(0, len(ordered), self._share.denominator)
        ]

    def _draw(self) -> Bools:
        out = np.zeros(self._n_turns, dtype=bool)
        for block in self._blocks:
            self._redraw(out, block)
        return _non_empty(out)

    def _redraw(self, out: Bools, block: NDArray[np.int64]) -> None:
        """Hold out p of a block of q, where p/q is the share wanted; of a shorter block as many on average."""
        exact = self._share.numerator * len(block) / self._share.denominator
        out[block] = False
        out[self._rng.permutation(block)[: int(exact) + int(self._rng.random() < exact % 1)]] = True

    def _swap(self, split: Bools) -> Bools:
        """Return a split in which two turns of one task have changed sides, if they stood on different ones."""
        task = self._tasks[self._rng.integers(len(self._tasks))]
        one, other = self._rng.choice(task, size=2)
        moved = split.copy()
        moved[[one, other]] = split[[other, one]]
        return moved

    def _distances(self, splits: Bools) -> NDArray[np.float64]:
        """Return the distance between the sides of splits, in units of their tolerances."""
        weights = splits.astype(float), (~splits).astype(float)
        one, other = (self._weighing(side) for side in weights)
        relative = 2 * np.abs(one - other) / np.maximum(one + other, 1e-9)
        # answers as long, and as many short turns, whose means scatter more
        shorts = [side @ self._shortness / side.sum(axis=1) for side in weights]
        lengths = [side @ self._lengths / side.sum(axis=1) for side in weights]
        apart = [
            relative[:, 0] / TOLERANCE["tokens_per_step"],
            relative[:, 1] / TOLERANCE["spread"],
            np.abs(one - other)[:, 2] / TOLERANCE["lag1_autocorrelation"],
            np.max(np.abs(one - other)[:, 3:], axis=1) / TOLERANCE["S_j"],
            np.abs(shorts[0] / shorts[1] - 1) / TOLERANCE["spread"],
            np.abs(lengths[0] / lengths[1] - 1) / TOLERANCE["spread"],
        ]
        total: NDArray[np.float64] = np.sqrt(np.sum(np.square(apart), axis=0))
        return total


def _by_task(turns: Sequence[Turn]) -> list[list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, turn in enumerate(turns):
        groups[turn.task].append(index)
    return list(groups.values())


def _non_empty(out: Bools) -> Bools:
    if not out.any():
        out[0] = True
    if out.all():
        out[-1] = False
    return out
