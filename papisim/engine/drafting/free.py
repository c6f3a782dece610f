"""Drafts that cost nothing, as PAPI's figures are consistent with: TLP is then simply tokens per iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from papisim.arrays import Ints
from papisim.engine.drafting.base import DraftContext, DraftingOptions, WholeVerification
from papisim.kinds import Example
from papisim.plan.phase import Phase
from papisim.policies.speculation.base import Draft


class Options(DraftingOptions):
    """Nothing to choose."""

    kind: Literal["free"]


EXAMPLE = Example()


class Source(WholeVerification):
    """Drafting takes no time."""

    def __init__(self, options: Options, context: DraftContext) -> None:
        del options
        super().__init__(context)

    def draft(self, drafts: Sequence[Draft], cached: Ints, *, fold: bool = True) -> list[Phase]:
        """Return nothing."""
        del drafts, cached, fold
        return []
