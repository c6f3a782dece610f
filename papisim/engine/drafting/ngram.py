"""Drafts looked up in the prompt, the output and a datastore by the host's CPU (SSSD, prompt look-up)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from papisim.arrays import Ints
from papisim.config.base import NonNegative
from papisim.engine.drafting.base import DraftContext, DraftingOptions, WholeVerification
from papisim.kinds import Example
from papisim.ops.cost import Energy
from papisim.plan.machine import HOST
from papisim.plan.phase import Category, Phase
from papisim.policies.speculation.base import Draft


class Options(DraftingOptions):
    """What a look-up costs.

    Attributes:
        iteration_s: host time of an iteration's look-ups, whatever the batch.
        request_s: further host time for each request.
    """

    kind: Literal["ngram"]
    iteration_s: NonNegative
    request_s: NonNegative


EXAMPLE = Example({"iteration_s": 1e-3, "request_s": 1e-4})


class Source(WholeVerification):
    """Drafting takes the host's time and none of the machine's devices."""

    def __init__(self, options: Options, context: DraftContext) -> None:
        super().__init__(context)
        self._options = options

    def draft(self, drafts: Sequence[Draft], cached: Ints, *, fold: bool = True) -> list[Phase]:
        """Return one phase on the host, if any request drafts."""
        del cached, fold
        drafting = sum(draft.length > 0 for draft in drafts)
        if not drafting:
            return []
        time_s = self._options.iteration_s + drafting * self._options.request_s
        return [Phase(HOST, Category.DRAFT, time_s, Energy())]
