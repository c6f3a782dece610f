"""SSSD: spend on each request the verify rows that the batch leaves free (Marzollo et al., arXiv:2411.05894).

FC layers take no longer until a step's rows reach the machine's knee, its FLOP per byte of memory traffic, so b requests
have about knee/b rows each for free. The released code (huawei-csl/sssd_speculator) turns that into a table: the knee is
measured, cut to a step, divided by b, bounded by the batch's budget, and cut to a step again. A request's rows are
its last accepted token, the root, and a tree of drafts looked up in its own text and a datastore.

Which nodes the tree has depends on the text: the code grows it best first, by the product of how often each continuation
was seen. The simulation needs a shape ahead, so the same growth runs here on typical frequencies: of the continuations
of a node, the first has a share p of the text, the next p of what is left, and so on.
"""

from __future__ import annotations

import heapq
from functools import cache
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from papisim.config.base import Count, Fraction, Positive, Spec, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import NO_DRAFT, Draft, SpeculationView, Stateless, TunedOptions
from papisim.policies.speculation.batch_table import BatchRow, ascending, row_for


class RowBudget(BatchRow):
    """Verify rows that these batches share at most."""

    rows: Count


class DepthLimit(Spec):
    """Largest depth of a tree with at most ``up_to_rows`` rows."""

    up_to_rows: Count
    depth: Width


class Options(TunedOptions):
    """The machine's knee, and the table's construction.

    Attributes:
        ratio: knee of the machine, in FLOP per byte: ``auto``, measured on the machine; or as given.
        max_ratio: larger knees count as this.
        ratio_steps: knees that the table knows; one is cut to the next smaller, and below the smallest to none.
        row_steps: rows that a request may have, besides the root alone.
        budgets: rows by batch.
        depths: depth limits by rows, in order; the last one for all larger trees.
        max_children: continuations of a node.
        continuation_share: how often the likeliest continuation of a node is the right one, to shape the tree.
    """

    tuner: ClassVar[str | None] = "papisim.calibration.speculation:tune_sssd"
    tuned_field = "ratio"

    kind: Literal["sssd"]
    ratio: Positive | None = None
    max_ratio: Positive
    ratio_steps: Annotated[list[Count], Field(min_length=1)]
    row_steps: Annotated[list[Count], Field(min_length=1)]
    budgets: Annotated[list[RowBudget], Field(min_length=1), AfterValidator(ascending)]
    depths: Annotated[list[DepthLimit], Field(min_length=1)]
    max_children: Count
    continuation_share: Fraction

    @property
    def longest(self) -> int:
        """The longest draft, in tokens."""
        return max(limit.depth for limit in self.depths)


EXAMPLE = Example({
    "ratio": 100, "max_ratio": 192, "ratio_steps": [32, 64, 96, 128], "row_steps": [2, 4, 8, 16],
    "budgets": [{"up_to_batch": 2, "rows": 32}, {"up_to_batch": 64, "rows": 64}],
    "depths": [{"up_to_rows": 8, "depth": 5}, {"up_to_rows": 32, "depth": 6}], "max_children": 4, "continuation_share": 0.6,
})  # fmt: skip


def rows_per_request(options: Options, batch: int) -> int:
    """Return the verify rows of each request, root included; 1 is no speculation."""
    knee = int(min(options.measured(), options.max_ratio))
    ratio = max((step for step in options.ratio_steps if step <= knee), default=0)
    affordable = min(ratio // batch, row_for(options.budgets, batch).rows // batch)
    return max((step for step in options.row_steps if step <= affordable), default=1)


def tree_shape(options: Options, rows: int) -> tuple[int, ...]:
    """Return the number of nodes of the likeliest tree at each depth, below the root."""
    limits = (limit.depth for limit in options.depths if rows <= limit.up_to_rows)
    deepest = next(limits, options.depths[-1].depth)
    children, share = min(options.max_children, rows - 1), options.continuation_share
    shape = [0] * deepest
    frontier = [(-share, 1, 0)]  # likelihood of the path, negated for the heap; depth; rank among its siblings
    while frontier and sum(shape) < rows - 1:
        likelihood, depth, rank = heapq.heappop(frontier)
        shape[depth - 1] += 1
        if rank + 1 < children:
            heapq.heappush(frontier, (likelihood * (1 - share), depth, rank + 1))
        if depth < deepest:
            heapq.heappush(frontier, (likelihood * share, depth + 1, 0))
    return tuple(nodes for nodes in shape if nodes)


class Speculation(Stateless):
    """Every request of a batch has the same rows, in the same shape."""

    def __init__(self, options: Options) -> None:
        self._draft = cache(lambda batch: _draft(options, batch))

    def plan(self, view: SpeculationView) -> list[Draft]:
        """Draft what the batch leaves free."""
        return [self._draft(view.rlp)] * view.rlp


def _draft(options: Options, batch: int) -> Draft:
    rows = rows_per_request(options, max(1, batch))
    if rows == 1:
        return NO_DRAFT
    shape = tree_shape(options, rows)
    return Draft(len(shape), shape if max(shape) > 1 else None)
