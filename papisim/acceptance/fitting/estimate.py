"""Fit the process to turns: what each parameter answers for in the log, until a simulated log agrees.

The conditional acceptances and the requests' levels start at the mode of a mixed logistic model of the tries at each
position. Then the method of simulated moments (McFadden, Econometrica 1989) moves each parameter by what its own statistic
is off in a simulation of the same requests:

==========================  ================================================
parameter                   statistic
==========================  ================================================
conditional acceptance c_j  share S_j / S_{j−1} of steps that reach position j
width of the levels         spread of the turns' means
state's share               lag-1 autocorrelation
state's memory              mean autocorrelation at longer lags
==========================  ================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from papisim.acceptance.fitting.simulate import Parameters, Plan, length_rule, plan, simulate
from papisim.acceptance.fitting.statistics import (
    Statistics,
    autocorrelation,
    hazards,
    measure,
    survival,
    turn_means,
)
from papisim.acceptance.fitting.steps import Steps, gather
from papisim.acceptance.log import Turn
from papisim.arrays import Floats

#: the levels' table: quantiles close together where few requests decide the spread
PROBABILITIES = np.array(
    [0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 1]
)
_ENOUGH_TRIES = 40  # positions tried less often share one conditional acceptance
_SIMULATED_STEPS, _ROUGH_STEPS = 120_000, 30_000
_ROUNDS = 24
_FULL_ROUNDS = 6  # then gains fall as one over the round's number
_LAGS = (2, 3, 4, 6, 8)  # what the memory is matched to
_PRIOR_VARIANCE = 1.0  # of a level, in squared log-odds
_NEWTON = 12
_MEMORY = (0.2, 0.99)
_MEMORY_STEP = (-0.05, 0.05)
_SHARE_GAIN = 1.5  # of the state's share per lag-1 autocorrelation
_ODDS = (-9.0, 4.0)  # of conditional acceptances, in log-odds: no token is certain
_WIDTH = (0.1, 5.0)
_ROOM, _ROOM_PULL = 0.5, 0.2  # levels narrower than _ROOM times their first shape shorten the memory
_FLOOR = 1e-3
_MEAN_SHARE = 0.8  # of a step of the positions, from the mean and not from their own acceptance


@dataclass(frozen=True)
class Fit:
    """A fitted process and how well it does on the turns it was fitted to.

    Attributes:
        parameters: of the process.
        measured: statistics of the turns.
        simulated: statistics of the process.
        tries: how often the token of each logged position was tried: drafted, with all tokens before it right.
        ordered: whether the log tells the order of steps, and with it the state's share and memory.
    """

    parameters: Parameters
    measured: Statistics
    simulated: Statistics
    tries: tuple[int, ...] = ()
    ordered: bool = True

    @property
    def measured_positions(self) -> int:
        """Positions with a conditional acceptance of their own; that of the last holds for all beyond."""
        return len(self.parameters.log_odds)


def longest_draft(turns: Sequence[Turn]) -> int:
    """Return the longest draft of a source: as logged, or the longest acceptance where lengths are unknown."""
    return max(1, *(int(max(turn.drafted.max(), turn.accepted.max())) for turn in turns))


def positions_shown(turns: Sequence[Turn], most: int = 10) -> int:
    """Return up to which j S_j is reported."""
    return min(most, longest_draft(turns))


def fit(turns: Sequence[Turn], seed: int, max_steps: int | None = None) -> Fit:
    """Fit the process to the turns of one source.

    Args:
        turns: at least two.
        seed: of the simulations.
        max_steps: steps of a turn that count, if not all.
    """
    steps, longest = gather(turns, max_steps), longest_draft(turns)
    requests = plan(turns, length_rule(turns, longest), longest, max_steps)
    parameters, shape = _start(steps, longest)
    parameters = _match(parameters, shape, steps, requests, seed)
    shown = positions_shown(turns)
    copies = requests.repeated(_repeats(steps, _SIMULATED_STEPS))
    simulated = measure(simulate(parameters, copies, (seed, _ROUNDS)), shown)
    if not steps.ordered:
        simulated = replace(simulated, lag1_autocorrelation=None)
    tried, _ = hazards(steps, longest)
    return Fit(parameters, measure(steps, shown), simulated, tuple(tried.astype(int).tolist()), steps.ordered)


def _repeats(steps: Steps, wanted: int) -> int:
    """Return the number of simulations of each request that give about ``wanted`` steps."""
    return max(1, round(wanted / len(steps.accepted)))


def _start(steps: Steps, longest: int) -> tuple[Parameters, Floats]:
    """Return first parameters, and the shape of the levels: quantiles of unit scale about 0."""
    tried, _ = hazards(steps, longest)
    fitted = max(1, int(np.sum(tried >= _ENOUGH_TRIES)))
    log_odds, levels = _mixed_logistic(steps, fitted)
    shape = np.quantile(levels, PROBABILITIES)
    shape = shape - np.mean(levels)
    # a histogram does not tell how long passages last: rounds of one request are then alike but for its level
    share, memory = (0.3, 0.9) if steps.ordered else (0.0, 0.0)
    return Parameters(log_odds + np.mean(levels), PROBABILITIES, shape, share=share, memory=memory), shape


def _mixed_logistic(steps: Steps, positions: int) -> tuple[Floats, Floats]:
    """Return the mode of position effects and turn levels; the last position stands for all beyond.

    Newton steps on levels and positions in turn; levels have a normal prior, which keeps those of short turns finite.
    """
    tried, right = _tries(steps, positions)
    share = (right.sum(axis=0) + 0.5) / (tried.sum(axis=0) + 1)
    effects, levels = np.log(share / (1 - share)), np.zeros(len(tried))
    for _ in range(_NEWTON):
        chance = 1 / (1 + np.exp(-(effects + levels[:, None])))
        slope = (right - tried * chance).sum(axis=1) - levels / _PRIOR_VARIANCE
        curvature = (tried * chance * (1 - chance)).sum(axis=1) + 1 / _PRIOR_VARIANCE
        levels = levels + np.clip(slope / curvature, -1, 1)
        chance = 1 / (1 + np.exp(-(effects + levels[:, None])))
        slope = (right - tried * chance).sum(axis=0)
        effects = effects + np.clip(slope / ((tried * chance * (1 - chance)).sum(axis=0) + 1), -1, 1)
    return effects, levels


def _tries(steps: Steps, positions: int) -> tuple[Floats, Floats]:
    """Return, by turn and position, how often its token was tried and accepted."""
    turn, turns = steps.turn, len(steps.lengths)
    tried, right = np.zeros((turns, positions)), np.zeros((turns, positions))
    limit = np.where(steps.drafted < 0, steps.accepted + 1, steps.drafted)
    longest = int(np.max(limit))
    for position in range(1, longest + 1):
        column = min(position, positions) - 1
        at = (limit >= position) & (steps.accepted >= position - 1)
        tried[:, column] += np.bincount(turn[at], minlength=turns)
        right[:, column] += np.bincount(turn[at & (steps.accepted >= position)], minlength=turns)
    return tried, right


def _match(parameters: Parameters, shape: Floats, steps: Steps, requests: Plan, seed: int) -> Parameters:
    """Move every parameter by what its statistic is off, with new variates and shorter steps each round.

    That is stochastic approximation (Robbins and Monro, 1951): the shrinking steps average the simulations' noise away.
    """
    wanted, width = _Moments.of(steps, parameters, requests.longest), 1.0
    for number in range(_ROUNDS):
        copies = requests.repeated(_repeats(steps, _ROUGH_STEPS if number < _FULL_ROUNDS else _SIMULATED_STEPS))
        found = _Moments.of(simulate(parameters, copies, (seed, number)), parameters, requests.longest)
        gain = min(1.0, _FULL_ROUNDS / (number + 1))
        # what positions beyond those fitted lack in the mean, the others make up for
        apart_mean = math.log(max(wanted.mean, _FLOOR) / max(found.mean, _FLOOR))
        apart_odds = (1 - _MEAN_SHARE) * (wanted.log_odds - found.log_odds) + _MEAN_SHARE * apart_mean
        apart_odds = np.clip(apart_odds, -0.5, 0.5)
        apart = math.log(max(wanted.spread, _FLOOR) / max(found.spread, _FLOOR))
        # requests spread by levels and by long passages; where passages leave levels hardly any room, they are too long
        memory = wanted.later - found.later - _ROOM_PULL * max(0.0, 1 - width / _ROOM)
        width = float(np.clip(width * math.exp(gain * apart), *_WIDTH))
        parameters = replace(
            parameters,
            log_odds=np.clip(parameters.log_odds + gain * apart_odds, *_ODDS),
            levels=width * shape,
        )
        if steps.ordered:
            parameters = replace(
                parameters,
                share=float(np.clip(parameters.share + _SHARE_GAIN * gain * (wanted.lag1 - found.lag1), 0, 0.99)),
                memory=float(np.clip(parameters.memory + gain * float(np.clip(memory, *_MEMORY_STEP)), *_MEMORY)),
            )
    return parameters


@dataclass(frozen=True)
class _Moments:
    """What the parameters are matched to."""

    mean: float
    log_odds: Floats
    spread: float
    lag1: float
    later: float

    @classmethod
    def of(cls, steps: Steps, parameters: Parameters, longest: int) -> _Moments:
        positions = len(parameters.log_odds)
        reached = np.append(1.0, survival(steps, longest)) * len(steps.accepted)
        before, after = reached[:-1], reached[1:]
        before = np.append(before[: positions - 1], before[positions - 1 :].sum())
        after = np.append(after[: positions - 1], after[positions - 1 :].sum())
        share = (after + 0.5) / (before + 1)
        return cls(
            mean=float(steps.accepted.mean()),
            log_odds=np.log(share / (1 - share)),
            spread=float(turn_means(steps).std()),
            lag1=autocorrelation(steps, 1),
            later=float(np.mean([autocorrelation(steps, lag) for lag in _LAGS])),
        )
