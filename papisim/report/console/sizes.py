"""Numbers of machines for a stream of requests, as text."""

from __future__ import annotations

from rich.table import Table

from papisim import units
from papisim.report.console.console import console
from papisim.report.figures import percent
from papisim.results.folder import Json
from papisim.units import NO_VALUE


def print_sizes(rows: list[Json], attained_ratio: float) -> None:
    """Print the number of machines of each kind that attain a goal, and what the next smaller number lacks.

    Args:
        rows: rows of :func:`papisim.exploration.sizing.row_of`.
        attained_ratio: share of the requests that must meet all targets.
    """
    page = console()
    priced = any(row["price_per_h"] is not None for row in rows)
    headings = [
        "machine",
        "machines",
        "devices",
        "attained",
        "with one fewer",
        "fails first",
        "goodput",
        "knee",
        "energy/token",
    ]
    table = Table(*headings, *(["price/h", "price/M tokens"] if priced else []), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(
            *_cells(row), *([_number(row["price_per_h"]), _number(row["price_per_million_tokens"])] if priced else [])
        )
    page.print(table)
    page.print(
        f"{percent(attained_ratio)} of the requests within all targets at {rows[0]['rate_per_s']:.4g} requests/s; "
        "knee: the largest rate that as many machines sustain",
        style="dim",
    )


def _cells(row: Json) -> list[str]:
    return [
        row["machine"],
        "none" if row["machines"] is None else f"{row['machines']:,}",
        _number(row["devices"]),
        percent(row["attained_ratio"]),
        percent(row["attained_with_one_fewer_ratio"]),
        row["fails_first"] or NO_VALUE,
        _rate(row["goodput_requests_per_s"]),
        _rate(row["knee_per_s"]),
        NO_VALUE if row["energy_per_token_j"] is None else units.format(row["energy_per_token_j"], "j", 3),
    ]


def _number(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:,.4g}"


def _rate(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.3g}/s"
