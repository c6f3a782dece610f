"""A grid of runs as text: for each facet, one row per machine and one column per value of the horizontal axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from papisim import units
from papisim.report.console.console import console
from papisim.report.facets import Facet, Layout, facets
from papisim.report.figures import times

if TYPE_CHECKING:
    import pandas as pd

#: the figures of a grid, with their headings
_SHOWN = (("throughput_tokens_per_s", "tokens/s"), ("energy_per_token_j", "energy/token"))


def print_grid(points: pd.DataFrame, layout: Layout) -> None:
    """Print throughput and energy per token of every point, each with its ratio to the first line.

    Args:
        points: the frame of a sweep.
        layout: which input is the horizontal axis, names a line, or names a facet.
    """
    page = console()
    first = ""
    for figure, heading in _SHOWN:
        if figure not in points:
            continue
        for facet in facets(points, layout, figure):
            page.print(_table(facet, layout, figure, f"{heading}{facet.title and f' · {facet.title}'}"))
            first = next(iter(facet.lines))
    page.print(f"ratios to {first} at the same place; above 1 is better; empty: no result", style="dim")
    for reason, count in points.loc[points["status"] != "ok", "reason"].value_counts().items():
        page.print(f"{count:,} × {reason}", style="yellow")


def _table(facet: Facet, layout: Layout, figure: str, title: str) -> Table:
    columns = [f"{layout.across} {each}" for each in facet.across]
    table = Table("machine" if "hw" in layout.lines else "", *columns, title=title, title_justify="left", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, line in facet.lines.items():
        cells = zip(line, facet.ratios[label], strict=True)
        table.add_row(
            label, *("" if value is None else f"{_value(figure, value)} {times(ratio)}" for value, ratio in cells)
        )
    return table


def _value(figure: str, value: float) -> str:
    unit = units.unit_of(figure)
    return f"{value:,.1f}" if unit in {None, "tokens_per_s"} else units.format(value, unit, 3)
