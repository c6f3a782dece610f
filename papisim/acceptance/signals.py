"""Signals that a draft shows or verification reveals: entropy, confidence and KL divergence of every proposed position.

They say little about acceptance: over eight data sets DSDE finds correlations of a few tenths at temperature 0 and none at
temperature 1. So each is a log-normal variate whose logarithm leans on whether the position's token is right, just as
much as the wanted correlation takes; confidence follows from entropy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from papisim.config.base import Fraction, Positive, Spec
from papisim.streams import stream

Correlation = Annotated[float, Field(gt=-1, lt=1)]

_ROUNDS = 64  # drawn at once
_WIDTH = 16  # positions drawn at once
_BISECTIONS = 60


class Marginal(Spec):
    """A positive signal: log-normal, correlated with the position's acceptance.

    Attributes:
        mean: in nats.
        variation: standard deviation over mean.
        correlation: Pearson's, between the signal and whether the position's token is right.
    """

    mean: Positive
    variation: Positive
    correlation: Correlation

    def lean(self, acceptance: float) -> tuple[float, float, float]:
        """Return the scale of the logarithm, and its means where the token is wrong and where it is right.

        The logarithm is ``N(m_b, (σ²·(1 − r²)))`` given the token is wrong or right, with ``m_b = μ + σ·r·z_b`` and ``z_b``
        the standardised indicator; r is found by bisection of the closed-form correlation of the exponential.
        """
        sigma = math.sqrt(math.log1p(self.variation**2))
        spread = math.sqrt(acceptance * (1 - acceptance))
        wrong, right = (-acceptance / spread, (1 - acceptance) / spread) if spread > 0 else (0.0, 0.0)

        def correlation(lean: float) -> float:
            shift = sigma * lean
            first = (1 - acceptance) * math.exp(shift * wrong) + acceptance * math.exp(shift * right)
            second = (1 - acceptance) * math.exp(2 * shift * wrong) + acceptance * math.exp(2 * shift * right)
            inner = math.exp(sigma**2 * (1 - lean**2))
            apart = math.exp(shift * right) - math.exp(shift * wrong)
            return spread * apart / math.sqrt(inner * second - first**2)

        lean = _bisect(lambda value: correlation(value) - self.correlation, -0.999, 0.999) if spread > 0 else 0.0
        scale = sigma * math.sqrt(1 - lean**2)
        low, high = sigma * lean * wrong, sigma * lean * right
        raw = (1 - acceptance) * math.exp(low) + acceptance * math.exp(high)
        centre = math.log(self.mean) - scale**2 / 2 - math.log(raw)
        return scale, centre + low, centre + high


class MinEntropyShare(Spec):
    """Bounds of the draft's min-entropy ``−ln(top-1 probability)`` over its Shannon entropy, at most 1 by definition."""

    low: Fraction
    high: Fraction

    @model_validator(mode="after")
    def _ordered(self) -> MinEntropyShare:
        if self.low > self.high:
            raise ValueError(f"found low {self.low} above high {self.high}")
        return self


class SignalOptions(Spec):
    """How the signals of a process are drawn.

    Attributes:
        entropy: of the draft's distribution.
        kld: KL(target‖draft) of the soft distributions.
        min_entropy_share: what links confidence to entropy, ``confidence = exp(−share·entropy)``, the share uniform.
    """

    entropy: Marginal
    kld: Marginal
    min_entropy_share: MinEntropyShare


class SignalDrawer:
    """Draws the signals of one request.

    Positions are drawn in blocks of their own streams, whether or not they are proposed, so no draw depends on how long
    earlier drafts were.
    """

    def __init__(self, options: SignalOptions, seed: int, request_id: int, acceptance: float) -> None:
        self._options, self._seed, self._request_id = options, seed, request_id
        self._entropy = options.entropy.lean(acceptance)
        self._kld = options.kld.lean(acceptance)
        self._blocks: dict[int, _Block] = {}

    def draw(
        self, number: int, accepted: int, width: int, conditional: Callable[[int], float]
    ) -> tuple[list[float], list[float], list[float]]:
        """Return entropy, confidence and KLD of a round's first ``width`` positions.

        Args:
            number: of the round, not below that of the last call.
            accepted: tokens right from the start of the draft, were it long enough.
            width: positions wanted.
            conditional: probability that the token at a position (from 1) is right given those before are; tells
                whether positions after the first wrong one agree with the target again.
        """
        entropy: list[float] = []
        confidence: list[float] = []
        kld: list[float] = []
        for position in range(width):
            row, column = self._row(number, position // _WIDTH), position % _WIDTH
            if position == accepted:
                right = False
            else:
                right = position < accepted or row[3][column] < conditional(position + 1)
            entropy.append(math.exp(self._entropy[2 if right else 1] + self._entropy[0] * row[0][column]))
            kld.append(math.exp(self._kld[2 if right else 1] + self._kld[0] * row[1][column]))
            confidence.append(math.exp(-row[2][column] * entropy[-1]))
        return entropy, confidence, kld

    def _row(self, number: int, chunk: int) -> list[list[float]]:
        if chunk not in self._blocks:
            rng = stream(self._seed, "acceptance", "signals", self._request_id, chunk)
            self._blocks[chunk] = _Block(rng, self._options.min_entropy_share)
        return self._blocks[chunk].row(number)


class _Block:
    """Rounds of one chunk of positions, drawn many at a time."""

    def __init__(self, rng: np.random.Generator, share: MinEntropyShare) -> None:
        self._rng, self._share = rng, share
        self._end = 0
        self._rows: list[list[list[float]]] = []

    def row(self, number: int) -> list[list[float]]:
        while number >= self._end:
            normals = self._rng.standard_normal((_ROUNDS, 2, _WIDTH))
            uniforms = self._rng.random((_ROUNDS, 2, _WIDTH))
            uniforms[:, 0] = self._share.low + (self._share.high - self._share.low) * uniforms[:, 0]
            self._rows = np.concatenate([normals, uniforms], axis=1).tolist()
            self._end += _ROUNDS
        return self._rows[number - self._end]


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of a rising function, or the end nearest to one."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2
