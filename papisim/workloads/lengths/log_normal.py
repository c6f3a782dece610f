"""Log-normal lengths."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from papisim.config.base import NonNegative, Positive, Spec
from papisim.workloads.lengths.base import MOST_TOKENS, Pairs, TokenCount
from papisim.workloads.lengths.copula import RankCorrelation, correlated_uniforms

_NORMAL = NormalDist()


class LogNormalLength(Spec):
    """A log-normal length, by its median and the σ of its logarithm or by its mean and coefficient of variation.

    They are those of the whole distribution; what lies beyond ``min_tokens`` and ``max_tokens`` is cut off, and not drawn.

    Attributes:
        median_tokens: ``exp(µ)``.
        sigma: standard deviation of the natural logarithm.
        mean_tokens: ``exp(µ + σ²/2)``.
        cv: standard deviation over mean, ``sqrt(exp(σ²) - 1)``.
        min_tokens: the shortest length.
        max_tokens: the longest length; none, if None.
    """

    median_tokens: Positive | None = None
    sigma: NonNegative | None = None
    mean_tokens: Positive | None = None
    cv: NonNegative | None = None
    min_tokens: TokenCount = 1
    max_tokens: TokenCount | None = None

    @model_validator(mode="after")
    def _described_once(self) -> LogNormalLength:
        given = tuple(
            name for name in ("median_tokens", "sigma", "mean_tokens", "cv") if getattr(self, name) is not None
        )
        if given not in (("median_tokens", "sigma"), ("mean_tokens", "cv")):
            raise ValueError(
                f"found {', '.join(given) or 'nothing'}, expected median_tokens and sigma, or mean_tokens and cv"
            )
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise ValueError(f"found max_tokens {self.max_tokens}, expected at least min_tokens {self.min_tokens}")
        return self

    @property
    def parameters(self) -> tuple[float, float]:
        """µ and σ of the natural logarithm."""
        if self.median_tokens is not None:
            return math.log(self.median_tokens), float(self.sigma or 0)
        variance = math.log1p(float(self.cv or 0) ** 2)
        return math.log(float(self.mean_tokens or 1)) - variance / 2, math.sqrt(variance)

    def invert(self, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the lengths at cumulative probabilities of the truncated distribution, rounded to whole tokens."""
        mu, sigma = self.parameters
        low, high = self.min_tokens - 0.5, math.inf if self.max_tokens is None else self.max_tokens + 0.5
        if sigma == 0:
            values = np.full(len(uniform), math.exp(min(mu, math.log(2 * MOST_TOKENS))))
        else:
            below, upto = (_NORMAL.cdf((math.log(edge) - mu) / sigma) for edge in (low, high))
            inside = np.clip(below + uniform * (upto - below), 1e-300, 1 - 1e-16)
            logarithms = mu + sigma * np.array([_NORMAL.inv_cdf(p) for p in inside.tolist()])
            values = np.exp(np.minimum(logarithms, math.log(2 * MOST_TOKENS)))  # far tails would overflow
        # the clip is for rounding at the edges and for σ = 0; the cut is above
        lengths: NDArray[np.float64] = np.clip(np.rint(values), self.min_tokens, self.max_tokens or MOST_TOKENS)
        return lengths


class LogNormal(Spec):
    """Log-normal lengths of prompts and answers.

    Attributes:
        input_tokens: of prompts.
        output_tokens: of answers.
        rank_correlation: Spearman's ρ between the two; they are coupled by a Gaussian copula.
    """

    kind: Literal["log_normal"]
    input_tokens: LogNormalLength
    output_tokens: LogNormalLength
    rank_correlation: RankCorrelation = 0.0

    def draw(self, n_requests: int, rng: np.random.Generator, first: int = 0) -> Pairs:
        """Return random pairs."""
        del first
        uniforms = correlated_uniforms(self.rank_correlation, n_requests, rng)
        sides = (self.input_tokens, self.output_tokens)
        return np.array([side.invert(u) for side, u in zip(sides, uniforms, strict=True)]).astype(np.int64).T
