"""vLLM's lengths by batch size and context: the proposed second axis of its dynamic speculative decoding.

Entries [first batch, last batch, shortest context, longest context, length] say what a batch drafts; the first that holds decides, and where none
does, nothing is drafted (RFC vllm#48627, pull request #48944). The context of a batch is the mean of its requests' cached tokens, which the texts
leave open.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from papisim.config.base import Count, Spec
from papisim.errors import NotModelled
from papisim.kinds import Example
from papisim.policies.speculation.base import Draft, SpeculationOptions, SpeculationView, Stateless


class Entry(Spec):
    """What batches of some sizes with contexts of some lengths draft; all bounds included."""

    from_batch: Count
    up_to_batch: Count
    from_context: Annotated[int, Field(ge=0)]
    up_to_context: Count
    length: Annotated[int, Field(ge=0)]

    def holds(self, batch: int, context: float) -> bool:
        """Tell whether the entry is for a batch with a context."""
        return self.from_batch <= batch <= self.up_to_batch and self.from_context <= context <= self.up_to_context


class Options(SpeculationOptions):
    """The entries, the first that holds before the others."""

    kind: Literal["vllm_context_table"]
    table: Annotated[list[Entry], Field(min_length=1)]

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return max(entry.length for entry in self.table)


EXAMPLE = Example("vllm_context_table")


class Speculation(Stateless):
    """Every request of the batch drafts the length of the entry that holds."""

    def __init__(self, options: Options) -> None:
        self._table = options.table

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Look batch and context up."""
        if not view.rlp:
            return []
        if not view.cached:
            raise NotModelled("draft lengths by context where the caches' lengths are not told")
        context = round(sum(view.cached) / view.rlp)
        entry = next((entry for entry in self._table if entry.holds(view.rlp, context)), None)
        return [Draft(entry.length if entry else 0)] * view.rlp
