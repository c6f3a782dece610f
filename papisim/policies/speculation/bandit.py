"""Bandits over the draft length: ε-greedy and UCB1 on measured tokens per second, by range of batch sizes.

Every range of batch sizes is a bandit of its own, whose arms are its candidates. An arm's reward is the tokens per second of the iterations
that drafted it, the mean of its last ones. Arms that were never tried are tried first, the longest before the others; then

    ε-greedy:  with probability ε any arm, else the one with the largest mean reward;
    UCB1:      the one with the largest  r + √(2 ln N / n),  r its mean reward, n its tries, N those of all arms.

Behaviour of SGLang's ``EpsilonGreedyMAB``, ``UCB1MAB`` and their batched form (#4732, #18284; mit-han-lab/fastrl). SGLang's arms also have
widths of trees, and its UCB adds the second term to raw rewards, beside which it is lost; here r is relative to the best arm's reward, the scale
for which UCB1 is stated. ε is drawn from a stream that the number of the decision names, so that planning twice plans the same.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.speculation.base import Round, SpeculationView
from papisim.policies.speculation.whole_batch import CandidateOptions, Planned, WholeBatch, tokens
from papisim.streams import stream


class Options(CandidateOptions):
    """Arms, and how they are chosen.

    Attributes:
        algorithm: ``epsilon_greedy`` or ``ucb``.
        window: iterations of an arm that count.
        epsilon: probability of trying any arm (ε-greedy).
        seed: of these tries.
    """

    kind: Literal["bandit"]
    algorithm: Literal["epsilon_greedy", "ucb"]
    window: Count
    epsilon: Annotated[float, Field(ge=0, le=1)]
    seed: Annotated[int, Field(ge=0)] = 0


EXAMPLE = Example("bandit_epsilon")


class Speculation(WholeBatch):
    """All requests draft the arm of their batch's range."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options
        self._rewards = [
            {length: deque[float](maxlen=options.window) for length in row.lengths} for row in options.candidates
        ]
        self._decisions = 0

    def choose(self, view: SpeculationView) -> int:
        """Return the arm to pull."""
        arms = self._rewards[self._options.slot(view.rlp)]
        untried = [length for length, rewards in arms.items() if not rewards]
        if untried:
            return max(untried)
        if self._options.algorithm == "ucb":
            return self._most_hopeful(arms)
        draw = stream(self._options.seed, "speculation", "bandit", self._decisions)
        if draw.random() < self._options.epsilon:
            return list(arms)[int(draw.integers(len(arms)))]
        return max(arms, key=lambda length: _mean(arms[length]))

    def _most_hopeful(self, arms: dict[int, deque[float]]) -> int:
        best = max(map(_mean, arms.values()))
        tries = sum(map(len, arms.values()))

        def bound(length: int) -> float:
            return _mean(arms[length]) / best + math.sqrt(2 * math.log(tries) / len(arms[length]))

        return max(arms, key=bound)

    def learn(self, planned: Planned, rounds: Sequence[Round]) -> None:
        """Add the iteration's tokens per second to the arm's rewards."""
        arms = self._rewards[self._options.slot(planned.batch)]
        arms[planned.length].append(tokens(rounds) / planned.time_s)
        self._decisions += 1


def _mean(rewards: deque[float]) -> float:
    return sum(rewards) / len(rewards)
