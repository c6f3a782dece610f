"""Simulate many turns of a fitted process at once.

The same process as :mod:`papisim.acceptance.fitted` steps through one request at a time; here all turns of a log,
several times over, advance together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from papisim.acceptance.fitting.lengths import LengthRule, fixed_lengths, is_adaptive
from papisim.acceptance.fitting.steps import Steps, gather
from papisim.acceptance.log import Turn
from papisim.acceptance.thresholds import threshold
from papisim.arrays import Floats, Ints


@dataclass(frozen=True)
class Parameters:
    """Parameters of the process: see :class:`papisim.acceptance.fitted.Options`.

    ``levels`` are quantiles at ``probabilities``; ``log_odds`` those of the conditional acceptances.
    """

    log_odds: Floats
    probabilities: Floats
    levels: Floats
    share: float
    memory: float

    def thresholds(self, level: Floats, positions: int) -> Floats:
        """Return, by request and position, what the variate must exceed for the position to be accepted."""
        padded = self.log_odds[np.minimum(np.arange(positions), len(self.log_odds) - 1)]
        log_survival = np.cumsum(-np.logaddexp(0, -(padded + level[:, None])), axis=1)
        log_odds = log_survival - np.log(-np.expm1(np.minimum(log_survival, -1e-14)))
        return -threshold(log_odds)


@dataclass(frozen=True)
class Plan:
    """Which turns to simulate: what is known of a request apart from its acceptance.

    Attributes:
        tokens: length of each answer; a turn ends when it is reached.
        drafted: draft length of each turn, where it is fixed.
        rule: draws draft lengths, where they adapt.
        longest: the longest draft.
        max_steps: steps of a turn that count, if not all.
    """

    tokens: Ints
    drafted: Ints
    rule: LengthRule | None
    longest: int
    max_steps: int | None

    def repeated(self, times: int) -> Plan:
        """Return the plan with every turn repeated ``times`` times."""
        return replace(self, tokens=np.tile(self.tokens, times), drafted=np.tile(self.drafted, times))


def plan(turns: Sequence[Turn], rule: LengthRule | None, longest: int, max_steps: int | None) -> Plan:
    """Plan to simulate the requests of logged turns."""
    tokens = np.array([_answer_tokens(turn) for turn in turns])
    return Plan(tokens, fixed_lengths(turns, longest), rule, longest, max_steps)


def length_rule(turns: Sequence[Turn], longest: int) -> LengthRule | None:
    """Learn how draft lengths adapt in turns; None where they are fixed."""
    return LengthRule(gather(turns), longest) if is_adaptive(turns) else None


def _answer_tokens(turn: Turn) -> int:
    """Return the length of the answer; the log's own figure where its steps can have produced it."""
    most = int(turn.accepted.sum()) + len(turn.accepted)
    before_last = most - int(turn.accepted[-1])
    return most if turn.new_tokens is None else min(max(turn.new_tokens, before_last), most)


def simulate(parameters: Parameters, planned: Plan, seed: tuple[int, ...]) -> Steps:
    """Return the steps of simulated turns that count; the same seed gives the same variates to any parameters."""
    return _Simulation(parameters, planned, np.random.default_rng(np.random.SeedSequence(seed))).run()


class _Simulation:
    def __init__(self, parameters: Parameters, planned: Plan, rng: np.random.Generator) -> None:
        turns = len(planned.tokens)
        self._plan, self._rng, self._turns = planned, rng, turns
        # levels at evenly spaced quantiles: the turns are a balanced sample of requests
        uniform = rng.permutation((np.arange(turns) + rng.random()) / turns)
        level = np.interp(uniform, parameters.probabilities, parameters.levels)
        self._thresholds = parameters.thresholds(level, planned.longest)
        self._memory, self._innovation = parameters.memory, np.sqrt(1 - parameters.memory**2)
        self._slow, self._fast = np.sqrt(parameters.share), np.sqrt(1 - parameters.share)

    def run(self) -> Steps:
        planned, rng = self._plan, self._rng
        active = np.arange(self._turns)
        left = planned.tokens.copy()
        state = rng.standard_normal(self._turns)
        drafted = planned.drafted if planned.rule is None else planned.rule.first(rng.random(self._turns))
        columns: list[tuple[Ints, Ints, Ints]] = []
        limit = planned.max_steps or 2**31
        while active.size and len(columns) <= limit:
            # drawn for all turns, so that the end of one turn does not shift the variates of another
            variates = rng.standard_normal((2, self._turns))
            uniform = rng.random(self._turns) if planned.rule is not None else state
            variate = self._slow * state[active] + self._fast * variates[0, active]
            accepted = self._accepted(active, variate, drafted[active])
            columns.append((active, accepted, drafted[active]))
            left[active] -= accepted + 1
            if planned.rule is not None:
                drafted = drafted.copy()
                drafted[active] = planned.rule.following(drafted[active], accepted, uniform[active])
            state = self._memory * state + self._innovation * variates[1]
            active = active[left[active] > 0]
        return self._collect(columns)

    def _accepted(self, active: Ints, variate: Floats, drafted: Ints) -> Ints:
        accepted = np.zeros(len(active), dtype=np.int64)
        rows = np.arange(len(active))
        for position in range(self._plan.longest):
            rows = rows[position < drafted[rows]]
            rows = rows[variate[rows] > self._thresholds[active[rows], position]]
            if not rows.size:
                break
            accepted[rows] += 1
        return accepted

    def _collect(self, columns: list[tuple[Ints, Ints, Ints]]) -> Steps:
        """Sort steps by turn and leave out what the log's statistics leave out."""
        turn = np.concatenate([column[0] for column in columns])
        order = np.argsort(turn, kind="stable")
        lengths = np.bincount(turn, minlength=self._turns)
        number = np.arange(len(turn)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        counting = np.maximum(1, lengths - 1)
        if self._plan.max_steps is not None:
            counting = np.minimum(counting, self._plan.max_steps)
        keep = number < np.repeat(counting, lengths)
        accepted = np.concatenate([column[1] for column in columns])[order][keep]
        drafted = np.concatenate([column[2] for column in columns])[order][keep]
        return Steps(accepted, drafted, counting)
