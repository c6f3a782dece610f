"""How long prompts and answers are."""

from __future__ import annotations

from statistics import NormalDist
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from papisim.spec.base import Spec

#: strict, since in a list nothing else would refuse ``true`` for 1
TokenCount = Annotated[int, Field(ge=1, strict=True)]
_NORMAL = NormalDist()


class Fixed(Spec):
    """Every request has the same lengths."""

    kind: Literal["fixed"]
    input_tokens: TokenCount
    output_tokens: TokenCount

    def draw(self, n_requests: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Return ``n_requests`` equal (input, output) pairs."""
        del rng
        return [(self.input_tokens, self.output_tokens)] * n_requests


class Listed(Spec):
    """Given (input, output) pairs, in order; repeated when more requests are wanted than there are."""

    kind: Literal["listed"]
    pairs: Annotated[list[tuple[TokenCount, TokenCount]], Field(min_length=1)]

    def draw(self, n_requests: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Return the pairs of the list, from its start."""
        del rng
        return [self.pairs[index % len(self.pairs)] for index in range(n_requests)]


class Quantiles(Spec):
    """Lengths drawn from two quantile tables, with the rank correlation between prompt and answer.

    A draw inverts each table by linear interpolation; the two uniform variates come from a Gaussian copula, whose
    parameter is ``2·sin(π·ρ/6)`` for a Spearman rank correlation ρ (Kruskal, JASA 1958).

    Attributes:
        probabilities: ascending from 0 to 1.
        input_tokens: quantiles of the prompt length at those probabilities.
        output_tokens: quantiles of the answer length at those probabilities.
        rank_correlation: Spearman's ρ between the two.
    """

    kind: Literal["quantiles"]
    probabilities: Annotated[list[Annotated[float, Field(ge=0, le=1, strict=True)]], Field(min_length=2)]
    input_tokens: list[TokenCount]
    output_tokens: list[TokenCount]
    rank_correlation: Annotated[float, Field(gt=-1, lt=1)]

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

    def draw(self, n_requests: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Return ``n_requests`` (input, output) pairs."""
        coupling = 2 * np.sin(np.pi * self.rank_correlation / 6)
        first, other = rng.standard_normal((2, n_requests))
        second = coupling * first + np.sqrt(1 - coupling**2) * other
        inputs = self._invert(first, self.input_tokens)
        outputs = self._invert(second, self.output_tokens)
        return list(zip(inputs, outputs, strict=True))

    def _invert(self, normal: np.ndarray, table: list[int]) -> list[int]:
        uniform = [_NORMAL.cdf(value) for value in normal]
        return [max(1, round(float(value))) for value in np.interp(uniform, self.probabilities, table)]


def _kind(value: Any) -> str | None:
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


#: any of the above, told apart by ``kind``
Lengths = Annotated[
    Annotated[Fixed, Tag("fixed")] | Annotated[Listed, Tag("listed")] | Annotated[Quantiles, Tag("quantiles")],
    Discriminator(_kind),
]
