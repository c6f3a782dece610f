"""Tables by batch size: what holds up to a batch, and the policies whose whole decision is one look-up."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from papisim.config.base import Count, Spec
from papisim.policies.speculation.base import Draft, SpeculationOptions, SpeculationView, Stateless


class BatchRow(Spec):
    """One row: it holds for batches above the row before it, up to ``up_to_batch`` requests."""

    up_to_batch: Count


class LengthRow(BatchRow):
    """The draft length for these batches."""

    length: Annotated[int, Field(ge=0)]


RowT = TypeVar("RowT", bound=BatchRow)


def ascending(rows: list[RowT]) -> list[RowT]:
    """Return rows in ascending order of batch; refuse any other order."""
    bounds = [row.up_to_batch for row in rows]
    if bounds != sorted(set(bounds)):
        raise ValueError(f"found rows up to batches {bounds}, expected them in ascending order")
    return rows


def row_for(rows: Sequence[RowT], batch: int) -> RowT:
    """Return the first row that reaches a batch; the last one for batches beyond all rows."""
    index = bisect.bisect_left(rows, batch, key=lambda row: row.up_to_batch)
    return rows[min(index, len(rows) - 1)]


class LengthOptions(SpeculationOptions):
    """Draft lengths by batch size."""

    table: Annotated[list[LengthRow], Field(min_length=1), AfterValidator(ascending)]

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return max(row.length for row in self.table)


class LengthByBatch(Stateless):
    """Every request of the batch drafts the length of the batch's row."""

    def __init__(self, options: LengthOptions) -> None:
        self._table = options.table

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Look the batch up."""
        return [Draft(row_for(self._table, view.rlp).length)] * view.rlp
