"""``papisim diff``: how two machines or parts differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.table import Table

from papisim import units
from papisim.cli._command import Command
from papisim.cli._options import print_json, show_notes, table_format_option

if TYPE_CHECKING:
    from papisim.api.hardware import Difference


@click.command(name="diff", cls=Command)
@click.argument("first", metavar="FIRST")
@click.argument("second", metavar="SECOND")
@click.option(
    "--trace", "traces", multiple=True, metavar="NAME|DIR|FILE",
    help="Model whose room and tuned values, α among them, are compared; may be repeated.",
)  # fmt: skip
@table_format_option("table", "json")
def command(*, first: str, second: str, traces: tuple[str, ...], output: str) -> None:
    """Show how two machines, or two parts, differ: the fields of their files with sources, and what follows from them.

    FIRST and SECOND are shipped names or files. Descriptions are left out.

    \b
    Example:
      papisim diff fc_pim attn_pim
      papisim diff papi gpu_only --trace llama65b
    """
    from papisim.api.hardware import diff  # noqa: PLC0415 - start-up time

    found = diff(first, second, traces=traces)
    show_notes(found.notes, quiet=False)
    if output == "json":
        print_json(found.as_json())
    else:
        _print(found)


def _print(found: Difference) -> None:
    from papisim.report.console.console import console  # noqa: PLC0415 - start-up time

    page = console()
    if not found.fields and not found.figures:
        page.print(f"{found.first} and {found.second} do not differ")
        return
    for title, table in (("Fields", _fields(found)), ("What follows from them", _figures(found))):
        if table.row_count:
            page.print(title, style="bold")
            page.print(table)


def _fields(found: Difference) -> Table:
    table = Table("field", found.first, found.second, "sources", box=None)
    for each in found.fields:
        sources = dict.fromkeys(source for source in (each.first_source, each.second_source) if source)
        table.add_row(each.field, _shown(each.field, each.first), _shown(each.field, each.second), "; ".join(sources))
    return table


def _figures(found: Difference) -> Table:
    table = Table("figure", found.first, found.second, "ratio", box=None)
    for each in found.figures:
        ratio = units.NO_VALUE if each.ratio is None else f"{each.ratio:.4g}×"
        table.add_row(each.figure, _shown(each.figure, each.first), _shown(each.figure, each.second), ratio)
    return table


def _shown(field: str, value: object) -> str:
    """Write a value with the unit that its field's name ends in."""
    unit = units.unit_of(field.rpartition(".")[2])
    if value is None or value == []:
        return units.NO_VALUE
    if isinstance(value, dict):
        return f"{len(value)} fields"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return units.format(value, unit) if unit else f"{value:,.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
