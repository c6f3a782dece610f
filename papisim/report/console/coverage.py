"""Coverage of intervals on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from papisim.validation.schema import Coverage


def coverage_table(rows: Sequence[Coverage]) -> Table:
    """Return the table of coverages of 90 % intervals."""
    columns = ("of", "held out", "measurements", "groups", "covered", "high / low")
    table = Table(*columns, title="Coverage of 90 % intervals by measurements that had no part in them")
    for row in rows:
        shown = f"{row.n:,}", str(row.groups), f"{row.covered_ratio:.1%}", f"{row.median_width_ratio:.2f}"
        table.add_row(row.of, row.held_out, *shown)
    return table
