"""Lengths from tables of quantiles."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from papisim.config.base import Spec
from papisim.workloads.lengths.base import Pairs, TokenCount
from papisim.workloads.lengths.copula import RankCorrelation, correlated_uniforms


class Quantiles(Spec):
    """Lengths drawn from two quantile tables, each inverted by linear interpolation.

    Attributes:
        probabilities: ascending from 0 to 1.
        input_tokens: quantiles of the prompt length at those probabilities.
        output_tokens: quantiles of the answer length at those probabilities.
        rank_correlation: Spearman's ρ between the two; they are coupled by a Gaussian copula.
    """

    kind: Literal["quantiles"]
    probabilities: Annotated[list[Annotated[float, Field(ge=0, le=1, strict=True)]], Field(min_length=2)]
    input_tokens: list[TokenCount]
    output_tokens: list[TokenCount]
    rank_correlation: RankCorrelation

    @model_validator(mode="after")
    def _tables_fit(self) -> Quantiles:
        steps = self.probabilities
        if steps != sorted(set(steps)) or steps[0] != 0 or steps[-1] != 1:
            raise ValueError("'probabilities' must ascend from 0 to 1")
        for name, table in (("input_tokens", self.input_tokens), ("output_tokens", self.output_tokens)):
            if len(table) != len(steps):
                raise ValueError(f"found {len(table)} entries in '{name}', expected {len(steps)}, one a probability")
            if table != sorted(table):
                raise ValueError(f"'{name}' must not descend")
        return self

    def draw(self, n_requests: int, rng: np.random.Generator, first: int = 0) -> Pairs:
        """Return random pairs."""
        del first
        uniforms = correlated_uniforms(self.rank_correlation, n_requests, rng)
        tables = (self.input_tokens, self.output_tokens)
        drawn = [np.interp(u, self.probabilities, table) for u, table in zip(uniforms, tables, strict=True)]
        return np.maximum(1, np.rint(drawn)).astype(np.int64).T
