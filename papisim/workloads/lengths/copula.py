"""Uniform variates of prompts and answers, with a rank correlation between them."""

from __future__ import annotations

from statistics import NormalDist
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

RankCorrelation = Annotated[float, Field(gt=-1, lt=1)]
_NORMAL = NormalDist()


def correlated_uniforms(rank_correlation: float, n_requests: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return uniform variates from a Gaussian copula.

    Its parameter is ``2·sin(π·ρ/6)`` for a Spearman rank correlation ρ (Kruskal, JASA 1958).

    Returns:
        Shape [2, n_requests]: of prompts and of answers, in (0, 1).
    """
    coupling = 2 * np.sin(np.pi * rank_correlation / 6)
    first, other = rng.standard_normal((2, n_requests))
    second = coupling * first + np.sqrt(1 - coupling**2) * other
    return np.array([[_NORMAL.cdf(value) for value in values] for values in (first.tolist(), second.tolist())])
