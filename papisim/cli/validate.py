"""``papisim validate``: how far off is the simulator itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from papisim.cli._options import format_option, print_json
from papisim.errors import CheckFailed
from papisim.report.console import console
from papisim.results.pim_validation import Compared, golden_points, meets_limits, published, summary

_MAPPINGS = ("attacc_released", "physical")


@click.command(name="validate")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder with golden tables (ramulator_hbm3pim_attention*.csv).",
)
@format_option("table", "json")
def command(data: Path | None, output: str) -> None:
    r"""Compare the device models with published figures and, given --data, with cycle-level golden counts.

    The released mapping must meet every golden count; the physical one, which does not copy the released generator's
    schedule, is shown beside it. Ends with status 1 when something promised is not met.

    \b
    Example:
      papisim validate
    """
    figures = published()
    golden = summary(point for mapping in _MAPPINGS for point in golden_points(data, mapping)) if data else []
    if output == "json":
        print_json({
            "schema": "papisim/validation/1",
            "published": [figure._asdict() for figure in figures],
            "golden": golden,
        })  # fmt: skip
    else:
        _print_figures(figures)
        if golden:
            _print_golden(golden)
    missed = [figure.what for figure in figures if figure.within is False]
    missed += [
        f"golden counts, {_power(row)}" for row in golden if row["mapping"] == _MAPPINGS[0] and not meets_limits(row)
    ]
    if missed:
        raise CheckFailed(f"not met: {'; '.join(missed)}")


def _print_figures(figures: list[Compared]) -> None:
    table = Table("figure", "published", "papisim", "error", "met", "source", title="Published figures")
    for figure in figures:
        met = {True: "yes", False: "no", None: "–"}[figure.within]
        error = "" if figure.error is None else f"{figure.error:+.1%}"
        table.add_row(figure.what, figure.published, figure.predicted, error, met, figure.source)
    console().print(table)


def _print_golden(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "mapping", "power", "points", "mean |error|", "max |error|", "worst", title="Cycle-level golden counts"
    )
    for row in rows:
        errors = f"{row['mean_abs_error']:.2%}", f"{row['max_abs_error']:.2%}"
        table.add_row(row["mapping"], _power(row), str(row["points"]), *errors, row["worst"])
    console().print(table)


def _power(row: dict[str, Any]) -> str:
    return "limited" if row["power_limited"] else "not limited"
