"""The mean number of accepted tokens of a draft of s is ``c·s^γ``.

That is the model of "The Synergy of Speculative Decoding and Batching" (arXiv 2310.18813).

It holds for every s exactly when ``P(accepted ≥ j) = c·(j^γ − (j − 1)^γ)``, which falls with j as γ is below 1.
"""

from __future__ import annotations

from typing import Literal

from papisim.acceptance.chain import ChainOptions, ChainSequence, IndependentRounds
from papisim.acceptance.draws import uniforms
from papisim.config.base import Fraction
from papisim.kinds import Example


class Options(ChainOptions):
    """The curve ``c·s^γ``; c is the acceptance of the first token."""

    kind: Literal["power_law"]
    c: Fraction
    gamma: Fraction

    def survival(self, position: int) -> float:
        """Return the probability that at least ``position`` tokens are accepted."""
        return float(self.c * (position**self.gamma - (position - 1) ** self.gamma))


EXAMPLE = Example({"c": 0.9, "gamma": 0.548, "branches": [0.3, 0.1]})


class _Sequence(ChainSequence):
    def __init__(self, options: Options, seed: int, request_id: int) -> None:
        super().__init__(options.signals, seed, request_id, options.c, options)
        self._options = options
        self._uniforms = uniforms(seed, request_id)
        self._advance()

    def _right(self, drafted: int) -> int:
        accepted = 0
        while accepted < drafted and self._options.survival(accepted + 1) > self._variate:
            accepted += 1
        return accepted

    def _conditional(self, position: int) -> float:
        if position == 1:
            return self._options.c
        return self._options.survival(position) / self._options.survival(position - 1)

    def _advance(self) -> None:
        self._variate = next(self._uniforms)


class Acceptance(IndependentRounds[Options]):
    """Independent rounds."""

    sequence = _Sequence
