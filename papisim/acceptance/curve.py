"""A measured curve of tokens per step by draft length, met at every length, also where it falls.

Benchmarks publish the mean tokens per step m_K of a model and its drafter for each configured draft length K (InferenceX's golden
curves). Were a draft of K tokens the beginning of a longer one, the chance that at least j drafts are right would be
``S_j = m_j − m_{j−1}`` whatever K is, and m would be concave. Block drafters predict all positions together, so published curves
bend and even fall. Here the survival depends on K:

    S_j(K) = B_j^p(K)    with p(K) such that    1 + S_1(K) + … + S_K(K) = m_K,

where B is the falling curve nearest to the increments of m (pool adjacent violators). On a concave curve p = 1 and B is exactly the
increments. How the mean is spread over positions is the model's; the mean is measured. Rounds and requests are independent: the
curve tells nothing else. Drafts longer than the measured ones yield what the longest does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from papisim.acceptance.base import AcceptanceOptions, Outcome, Tree
from papisim.acceptance.chain import ChainSequence, IndependentRounds
from papisim.acceptance.draws import uniforms
from papisim.errors import NotModelled
from papisim.kinds import Example

_LEAST = 1e-6  # of a survival, so that a power moves it
_BISECTIONS = 80
_POWERS = (-25.0, 25.0)  # logarithms


class Options(AcceptanceOptions):
    """The curve.

    Attributes:
        tokens_per_step: mean tokens per step, the target's own included, of drafts of 1, 2, 3, … tokens.
    """

    kind: Literal["curve"]
    signals: None = None
    tokens_per_step: Annotated[list[Annotated[float, Field(ge=1, strict=True)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_possible(self) -> Options:
        for length, mean in enumerate(self.tokens_per_step, start=1):
            if mean > length + 1:
                raise ValueError(f"found {mean} tokens per step of drafts of {length}, expected at most {length + 1}")
        return self

    @property
    def depends_on_length(self) -> bool:
        """The curve of a draft is not that of the beginning of a longer one."""
        return True

    @property
    def known_positions(self) -> int:
        """Draft lengths that were measured."""
        return len(self.tokens_per_step)

    @cached_property
    def survival(self) -> list[list[float]]:
        """S_1(K), …, S_K(K) for each measured draft length K, from 1."""
        base = _falling(
            [
                after - before
                for before, after in zip([1.0, *self.tokens_per_step], self.tokens_per_step, strict=False)
            ]
        )
        return [_tilted(base[:length], mean - 1) for length, mean in enumerate(self.tokens_per_step, start=1)]


EXAMPLE = Example({"tokens_per_step": [1.8, 2.4, 2.9, 2.7]})


def _falling(increments: Sequence[float]) -> list[float]:
    """Return the falling sequence nearest to a given one, in least squares, within what a survival may be."""
    pools: list[tuple[float, int]] = []
    for value in increments:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-1][0] > pools[-2][0]:
            (last, n_last), (before, n_before) = pools.pop(), pools.pop()
            pools.append(((last * n_last + before * n_before) / (n_last + n_before), n_last + n_before))
    return [min(1 - _LEAST, max(_LEAST, value)) for value, n in pools for _ in range(n)]


def _tilted(base: Sequence[float], wanted: float) -> list[float]:
    """Return the survivals B_j^p whose sum is a given one; by bisection, since the sum falls as p rises."""
    low, high = _POWERS
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = sum(value ** math.exp(middle) for value in base) > wanted
        low, high = (middle, high) if above else (low, middle)
    return [value ** math.exp(low) for value in base]


class _Sequence(ChainSequence):
    def __init__(self, options: Options, seed: int, request_id: int) -> None:
        super().__init__(None, seed, request_id, 0.0)
        self._survival = options.survival
        self._uniforms: Iterator[float] = uniforms(seed, request_id)
        self._advance()

    def _right(self, drafted: int) -> int:
        if not drafted:
            return 0
        survival = self._survival[min(drafted, len(self._survival)) - 1]
        return sum(self._uniform < share for share in survival)

    def _conditional(self, position: int) -> float:
        raise NotModelled(f"the acceptance of position {position} by itself: a curve has means of whole drafts")

    def _advance(self) -> None:
        self._uniform = next(self._uniforms)

    def round_tree(self, tree: Tree) -> Outcome:
        raise NotModelled(f"a tree of {len(tree)} nodes: a curve by draft length has chains only")


class Acceptance(IndependentRounds[Options]):
    """Independent rounds whose mean at each draft length is the measured one."""

    sequence = _Sequence
