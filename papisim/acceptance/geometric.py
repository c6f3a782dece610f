"""Each drafted token is right with the same probability, independently: ``P(accepted ≥ j) = α^j``.

A round then emits ``1 + α + … + α^s`` tokens on average (Leviathan et al., ICML 2023, Equation 1).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from papisim.acceptance.chain import ChainSequence, IndependentRounds, TemperedOptions
from papisim.acceptance.draws import uniforms
from papisim.kinds import Example


class Options(TemperedOptions):
    """The probability α that a drafted token is right."""

    kind: Literal["geometric"]
    alpha: Annotated[float, Field(ge=0, le=1)]


EXAMPLE = Example({"alpha": 0.7, "branches": [0.3, 0.1]})


class _Sequence(ChainSequence):
    def __init__(self, options: Options, seed: int, request_id: int) -> None:
        self._alpha = options.at_temperature(options.alpha)
        super().__init__(options.signals, seed, request_id, self._alpha, options)
        self._uniforms = uniforms(seed, request_id)
        self._advance()

    def _right(self, drafted: int) -> int:
        return min(drafted, self._length)

    def _conditional(self, position: int) -> float:
        del position
        return self._alpha

    def _advance(self) -> None:
        # α^j > 1 − u, with 1 − u in (0, 1]
        below = math.log1p(-next(self._uniforms))
        if self._alpha in (0, 1):
            self._length = 0 if self._alpha == 0 else 2**31
        else:
            self._length = max(0, math.ceil(below / math.log(self._alpha)) - 1)


class Acceptance(IndependentRounds[Options]):
    """Independent rounds of independent tokens."""

    sequence = _Sequence
