"""The statistics by which a log and a process are compared.

Over the steps that count (see :func:`papisim.acceptance.fitting.steps.kept`):

- tokens per step: mean of ``accepted + 1``;
- S_j: share of steps with at least j accepted;
- spread: population standard deviation, over turns, of a turn's mean accepted;
- lag-k autocorrelation: mean product of deviations from the mean of all steps, over pairs of steps of one turn that are k
  apart, divided by the population variance of all steps; turns with a single pair have no say. It so includes what makes
  turns differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from papisim.acceptance.fitting.steps import Steps
from papisim.arrays import Floats

_PAIR = 2  # steps of a turn with a single pair


@dataclass(frozen=True)
class Statistics:
    """Statistics of steps; ``survival[j − 1]`` is S_j. Of a histogram, which has no order, there is no autocorrelation: None."""

    n_turns: int
    n_steps: int
    tokens_per_step: float
    survival: tuple[float, ...]
    spread: float
    lag1_autocorrelation: float | None


def measure(steps: Steps, positions: int) -> Statistics:
    """Return the statistics, with S_1 … S_positions."""
    return Statistics(
        n_turns=len(steps.lengths),
        n_steps=len(steps.accepted),
        tokens_per_step=float(steps.accepted.mean()) + 1,
        survival=tuple(float(share) for share in survival(steps, positions)),
        spread=float(turn_means(steps).std()),
        lag1_autocorrelation=autocorrelation(steps, 1) if steps.ordered else None,
    )


def survival(steps: Steps, positions: int) -> Floats:
    """Return S_1 … S_positions."""
    counts = np.bincount(np.minimum(steps.accepted, positions), minlength=positions + 1)
    return np.cumsum(counts[::-1])[::-1][1:] / len(steps.accepted)


def turn_means(steps: Steps) -> Floats:
    """Return the mean accepted of each turn."""
    totals: Floats = np.add.reduceat(steps.accepted, steps.starts) / steps.lengths
    return totals


def autocorrelation(steps: Steps, lag: int) -> float:
    """Return the autocorrelation of accepted at a lag; 0 where no step varies or no turn is long enough."""
    deviation = steps.accepted - steps.accepted.mean()
    variance = float(np.mean(deviation**2))
    same = (steps.turn[lag:] == steps.turn[:-lag]) & _in_long_turn(steps, lag)[lag:]
    if variance == 0 or not same.any():
        return 0.0
    return float(np.mean(deviation[lag:][same] * deviation[:-lag][same])) / variance


def _in_long_turn(steps: Steps, lag: int) -> NDArray[np.bool_]:
    """Tell of each step whether its turn is long enough for more than one pair."""
    return np.repeat(steps.lengths >= lag + 2, steps.lengths)


def hazards(steps: Steps, positions: int) -> tuple[Floats, Floats]:
    """Return, by position, how often its token was tried (those before accepted, itself drafted) and accepted."""
    limit = np.where(steps.drafted < 0, positions, np.minimum(steps.drafted, positions))
    tried = np.bincount(np.minimum(steps.accepted + 1, limit), minlength=positions + 1)
    accepted = np.bincount(np.minimum(steps.accepted, positions), minlength=positions + 1)
    return _at_least(tried), _at_least(accepted)


def _at_least(counts: NDArray[np.int64]) -> Floats:
    return np.cumsum(counts[::-1])[::-1][1:].astype(float)


class Weighing:
    """Statistics of many weightings of the same turns at once, from sums that each turn adds to."""

    def __init__(self, steps: Steps, positions: int) -> None:
        self._sums, self._means = _sums(steps, positions), turn_means(steps)

    def __call__(self, weights: Floats) -> Floats:
        """Return the statistics of logs in which turn i stands ``weights[·, i]`` times.

        Returns:
            A row a weighting: tokens per step, spread, lag-1 autocorrelation, then S_1, S_2, ….
        """
        totals = weights @ self._sums
        n, total, squares, pairs, products, firsts, seconds = totals[:, :7].T
        mean = total / n
        variance = squares / n - mean**2
        covariance = products - mean * (firsts + seconds) + mean**2 * pairs
        with np.errstate(invalid="ignore", divide="ignore"):
            lag1 = np.nan_to_num(covariance / pairs / variance)
        share = weights / weights.sum(axis=1, keepdims=True)
        spread = np.sqrt(np.maximum(0, share @ self._means**2 - (share @ self._means) ** 2))
        return np.column_stack([mean + 1, spread, lag1, totals[:, 7:] / n[:, None]])


def sampling_error(steps: Steps, positions: int, rng: np.random.Generator, resamples: int = 200) -> Statistics:
    """Return the standard errors of the statistics: their deviation between logs with the same number of turns.

    A bootstrap over turns (Efron, Annals of Statistics 1979).
    """
    turns = len(steps.lengths)
    resampled = rng.multinomial(turns, np.full(turns, 1 / turns), size=resamples).astype(float)
    mean, spread, lag1, *shares = (float(error) for error in Weighing(steps, positions)(resampled).std(axis=0))
    return Statistics(turns, len(steps.accepted), mean, tuple(shares), spread, lag1)


def _sums(steps: Steps, positions: int) -> Floats:
    """Return a row a turn: steps, Σa, Σa², pairs, Σa·a', Σa, Σa' over pairs, and steps with at least j accepted."""
    accepted, turn, turns = steps.accepted.astype(float), steps.turn, len(steps.lengths)
    same = (turn[1:] == turn[:-1]) & _in_long_turn(steps, 1)[1:]
    before, after, owner = accepted[:-1][same], accepted[1:][same], turn[1:][same]

    def add(values: Floats, owners: NDArray[np.int64]) -> Floats:
        return np.bincount(owners, weights=values, minlength=turns).astype(float)

    columns = [steps.lengths.astype(float), add(accepted, turn), add(accepted**2, turn)]
    columns += [
        np.where(steps.lengths > _PAIR, steps.lengths - 1.0, 0.0),
        add(before * after, owner),
        add(before, owner),
        add(after, owner),
    ]
    columns += [add((accepted >= j).astype(float), turn) for j in range(1, positions + 1)]
    return np.stack(columns, axis=1)
