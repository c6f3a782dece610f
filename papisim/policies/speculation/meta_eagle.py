"""Meta's dispatcher of EAGLE draft trees: a bushy tree at small batch, a chain at large (Tang et al., arXiv:2508.08192).

The trees are static and compiled ahead, so the batch size alone decides; nothing is learned, and speculation is never
switched off. The paper says how the trees are served but publishes neither them nor the batches at which they change, so
both are options. The two costs of that serving system that the paper distinguishes belong to other parts of an
experiment: sampling split over ranks to ``verification``, the quantised draft head to ``drafting`` (``eagle_head_int4``).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.policies.speculation.base import Draft, SpeculationOptions, SpeculationView, Stateless
from papisim.policies.speculation.batch_table import BatchRow, ascending, row_for


class TreeRow(BatchRow):
    """The draft tree for these batches, as nodes at each depth; all ones is a chain."""

    tree: Annotated[list[Count], Field(min_length=1)]


class Options(SpeculationOptions):
    """The trees by batch."""

    kind: Literal["meta_eagle"]
    table: Annotated[list[TreeRow], Field(min_length=1), AfterValidator(ascending)]

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return max(len(row.tree) for row in self.table)


EXAMPLE = Example("meta_eagle")


class Speculation(Stateless):
    """The tree of the batch's row, for every request."""

    def __init__(self, options: Options) -> None:
        self._table = options.table

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Look the batch up."""
        tree = tuple(row_for(self._table, view.rlp).tree)
        chain = max(tree) == 1
        return [Draft(len(tree), None if chain else tree)] * view.rlp
