"""Lengths that are uniform in a range below, or around, nominal ones, as clients of benchmarks draw them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import model_validator

from papisim.config.base import NonNegative, Spec
from papisim.workloads.lengths.base import Pairs, TokenCount


class Uniform(Spec):
    """Whole numbers, all equally likely, from ``min_ratio`` to ``max_ratio`` of nominal lengths; input and output are independent.

    The client of InferenceMAX draws from ``min_ratio`` 0.8 to 1 (its ``random-range-ratio``), ``vllm bench serve`` from 1 − r to
    1 + r.

    Attributes:
        input_tokens: nominal length of a prompt.
        output_tokens: nominal length of an answer.
        min_ratio: shortest length, as a share of the nominal one; at least one token.
        max_ratio: longest length, likewise.
    """

    kind: Literal["uniform"]
    input_tokens: TokenCount
    output_tokens: TokenCount
    min_ratio: NonNegative
    max_ratio: NonNegative = 1.0

    @model_validator(mode="after")
    def _is_a_range(self) -> Uniform:
        if self.min_ratio > self.max_ratio:
            raise ValueError(f"found min_ratio {self.min_ratio:g}, expected at most max_ratio, {self.max_ratio:g}")
        return self

    def draw(self, n_requests: int, rng: np.random.Generator, first: int = 0) -> Pairs:
        """Return random pairs."""
        del first
        nominal = np.array([self.input_tokens, self.output_tokens])
        low = np.maximum(1, np.floor(nominal * self.min_ratio)).astype(np.int64)
        high = np.maximum(low, np.floor(nominal * self.max_ratio)).astype(np.int64)
        return rng.integers(low, high, (n_requests, 2), endpoint=True)
