"""A process fitted to logged steps: a level per request, a state that varies slowly along it, and per-position acceptance.

In a round, with x a standard normal variate and Φ its distribution function, ``accepted`` counts the positions j up to the
draft's length with ``Φ(−x) < S_j``, where::

    S_j = c_1(θ)·c_2(θ)·…·c_j(θ)         logit c_j(θ) = logit c_j + θ          θ the request's level
    x_t = √w·s_t + √(1 − w)·e_t          s_t = φ·s_{t−1} + √(1 − φ²)·η_t       e, η independent standard normal

So the conditional acceptances c_j carry the mean and the shape, the distribution of θ carries how requests differ, and the
state's share w and memory φ carry how long good and bad passages last: rounds k apart have a latent correlation w·φ^k.
``papisim fit acceptance`` finds all of them.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from papisim.acceptance.chain import ChainSequence, TemperedOptions
from papisim.acceptance.draws import normals
from papisim.config.base import Spec
from papisim.kinds import Example
from papisim.streams import stream

_NORMAL = NormalDist()
_TINY = 1e-300  # a survival below this is never reached

#: strict: in a list nothing else would refuse ``true`` for 1
Probability = Annotated[float, Field(ge=0, le=1, strict=True)]
Conditional = Annotated[float, Field(gt=0, lt=1, strict=True)]


class Level(Spec):
    """Quantiles of the requests' levels θ, in log-odds of each position's acceptance; linear between them."""

    probabilities: Annotated[list[Probability], Field(min_length=2)]
    log_odds: list[Annotated[float, Field(strict=True, allow_inf_nan=False)]]

    @model_validator(mode="after")
    def _is_a_quantile_table(self) -> Level:
        steps = self.probabilities
        if steps[0] != 0 or steps[-1] != 1 or any(low >= high for low, high in pairwise(steps)):
            raise ValueError("'probabilities' must ascend from 0 to 1")
        if len(self.log_odds) != len(steps):
            raise ValueError(f"found {len(self.log_odds)} entries in 'log_odds', expected {len(steps)}")
        if self.log_odds != sorted(self.log_odds):
            raise ValueError("'log_odds' must not descend")
        return self


class State(Spec):
    """The slowly varying state: its share w of the latent variance and its memory φ from one round to the next."""

    share: Annotated[float, Field(ge=0, le=1)]
    memory: Annotated[float, Field(ge=0, lt=1)]


class Options(TemperedOptions):
    """The parameters of one source.

    Attributes:
        conditional: c_j at level 0, the probability that token j is accepted given that those before it are; the last
            one holds for all positions beyond.
        level: how requests differ.
        state: how rounds of a request hang together.
    """

    kind: Literal["fitted"]
    conditional: Annotated[list[Conditional], Field(min_length=1)]
    level: Level
    state: State

    @property
    def known_positions(self) -> int:
        """Positions of the logged drafts."""
        return len(self.conditional)


EXAMPLE = Example(
    {
        "conditional": [0.8, 0.6],
        "level": {"probabilities": [0, 1], "log_odds": [-1, 1]},
        "state": {"share": 0.5, "memory": 0.9},
        "branches": [0.3, 0.1],
    }
)


class Acceptance:
    """Starts sequences, each at a level of its own."""

    def __init__(self, options: Options, seed: int) -> None:
        self._options, self._seed = options, seed

    def start(self, request_id: int) -> _Sequence:
        """Return a request's sequence."""
        uniform = stream(self._seed, "acceptance", "level", request_id).random()
        level = np.interp(uniform, self._options.level.probabilities, self._options.level.log_odds)
        return _Sequence(self._options, self._seed, request_id, float(level))


class _Sequence(ChainSequence):
    def __init__(self, options: Options, seed: int, request_id: int, level: float) -> None:
        log_odds = [math.log(c / (1 - c)) + level + options.shift for c in options.conditional]
        self._conditionals = [1 / (1 + math.exp(-value)) for value in log_odds]
        super().__init__(options.signals, seed, request_id, self._conditionals[0], options)
        share, memory = options.state.share, options.state.memory
        self._memory, self._innovation = memory, math.sqrt(1 - memory**2)
        self._slow, self._fast = math.sqrt(share), math.sqrt(1 - share)
        self._thresholds: list[float] = []
        self._survival = 1.0
        self._normals = normals(seed, request_id)
        self._state = next(self._normals)
        self._variate = self._slow * self._state + self._fast * next(self._normals)

    def _right(self, drafted: int) -> int:
        variate, thresholds, accepted = self._variate, self._thresholds, 0
        while accepted < drafted:
            if accepted == len(thresholds):
                self._extend()
            if variate <= thresholds[accepted]:
                break
            accepted += 1
        return accepted

    def _extend(self) -> None:
        """Add the next position's threshold on x: the one that is exceeded with probability S_j."""
        self._survival = max(_TINY, self._survival * self._conditional(len(self._thresholds) + 1))
        self._thresholds.append(-_NORMAL.inv_cdf(self._survival) if self._survival < 1 else -math.inf)

    def _conditional(self, position: int) -> float:
        return self._conditionals[min(position, len(self._conditionals)) - 1]

    def _advance(self) -> None:
        self._state = self._memory * self._state + self._innovation * next(self._normals)
        self._variate = self._slow * self._state + self._fast * next(self._normals)
