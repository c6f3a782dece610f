"""Published claims beside simulated values."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from papisim.report.console.console import console

#: how verdicts are coloured
STYLES = {"in range": "green", "direction holds": "yellow", "off": "red", "not testable": "dim"}


def print_claims(rows: list[dict[str, Any]]) -> None:
    """Print one line a claim with its reason below, and the verdicts counted."""
    page = console()
    table = Table("system", "claim", "claimed", "simulated", "error", "verdict", box=None, pad_edge=False)
    for name in ("claimed", "simulated", "error"):
        next(column for column in table.columns if column.header == name).justify = "right"
    for row in rows:
        error = "" if row["relative_error"] is None else f"{100 * row['relative_error']:+.0f} %"
        cells = (row["claim"], shown(row["claimed"]), shown(row["simulated"]), error)
        table.add_row(row["system"], *cells, Text(row["verdict"].value, STYLES[row["verdict"]]))
        table.add_row("", Text(row["reason"], "dim"), end_section=True)
    page.print(table)
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in STYLES}
    page.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()), style="bold")


def shown(value: float | str | None) -> str:
    """Return a claimed or simulated value in words."""
    if value is None:
        return "—"
    return value if isinstance(value, str) else f"{value:.4g}"
