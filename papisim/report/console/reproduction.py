"""A paper's figures on the console: published beside simulated values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from papisim.report.claims import SCORES, VERDICTS, ShownFigure, cells, headings, own_reason
from papisim.report.console.console import console
from papisim.report.meaning_of_claims import meaning_of_claims


def print_figures(interpretation: str | None, figures: Sequence[ShownFigure], scores: Mapping[str, float]) -> None:
    """Print a reproduction: a table per figure, what it assumes, the scores, and the number of each verdict.

    Args:
        interpretation: name of the interpretation; None for a paper that leaves nothing open.
        figures: the figures.
        scores: scores by their keys in :data:`papisim.report.claims.SCORES`.
    """
    page = console()
    if interpretation is not None:
        page.print(f"interpretation: {interpretation}", style="bold")
    for sentence in meaning_of_claims(row for figure in figures for row in figure["rows"]):
        page.print(sentence)
    for figure in figures:
        if not figure["rows"] and not figure["findings"]:
            continue
        page.print(Text.assemble("\n", (figure["name"], "bold"), f"  {figure['title']}"))
        if figure["rows"]:
            page.print(_table(figure))
        for finding in figure["findings"]:
            page.print(f"  {finding}")
        page.print(f"  assumed: {'; '.join(figure['assumed'])}", style="dim")
    page.print()
    for name, value in scores.items():
        page.print(f"mean |ln(simulated / published)| of {SCORES[name]}: {value:.3f}", style="bold")
    verdicts = [row["verdict"] for figure in figures for row in figure["rows"]]
    page.print(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS), style="bold")


def _table(figure: ShownFigure) -> Table:
    table = Table(*headings(figure), box=None, pad_edge=False)
    for column in table.columns[1:4]:
        column.justify = "right"
    for row in figure["rows"]:
        value, published, simulated, error, verdict, *moved = cells(figure, row)
        table.add_row(value, published, simulated, error, Text(verdict, VERDICTS[verdict]), *moved)
        if reason := own_reason(figure, row):
            table.add_row(Text(reason, "dim"), end_section=True)
    return table
