"""``papisim reproduce``: does the simulator agree with the literature."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from papisim.cli._options import format_option, print_json, quiet_option
from papisim.errors import MissingExtra
from papisim.paper.reproduce import check_subject, rows
from papisim.paper.speculation.figure import MACHINES, closed, figure, findings, machines_and_batches
from papisim.paper.verdict import Row
from papisim.report.claims import print_claims
from papisim.report.console import console
from papisim.report.figures.batch_by_policy import draw
from papisim.results.store import check_free


@click.command(name="reproduce")
@click.argument("what", metavar="WHAT")
@format_option("table", "json", "csv")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the claims and, simulated only then, the figure of tokens/s by batch and policy.",
)
@click.option("--force", is_flag=True, help="Write into --out although it is not empty.")
@quiet_option
def command(*, what: str, output: str, out: Path | None, force: bool, quiet: bool) -> None:
    """Simulate what the literature claims, and print claimed, simulated, verdict and reason.

    WHAT is ``speculation``: six systems that draft tokens. A verdict is ``in range`` where the simulated value is within
    the claim's tolerance, ``direction holds`` where it has the same sign of effect, else ``off``.

    \b
    Example:
      papisim reproduce speculation
    """
    check_subject(what)
    if out is not None and not force:
        check_free(out, force=False)
    found = list(rows(what))
    _print(found, output)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        _write_csv(out / "claims.csv", [asdict(row) for row in found])
        _figure(out, to_stdout=output == "table", quiet=quiet)


def _print(found: list[Row], output: str) -> None:
    if output == "json":
        print_json({"schema": "papisim/claims/1", "claims": [asdict(row) for row in found]})
    elif output == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(asdict(found[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in found)
    else:
        print_claims([asdict(row) for row in found])


def _figure(out: Path, *, to_stdout: bool, quiet: bool) -> None:
    """Simulate the figure, write its data, draw it where that is possible, and say what it shows."""
    points = []
    for machine, batch in machines_and_batches():
        if not quiet:
            click.echo(f"papisim: simulating {machine}, batch {batch}", err=True)
        points += figure([machine], [batch])
    _write_csv(out / "batch_by_policy.csv", points)
    for line in [*findings(points), *map(closed, MACHINES)]:
        if to_stdout:
            console().print(line)
        else:
            click.echo(line, err=True)
    try:
        files = draw(points, out / "batch_by_policy")
    except MissingExtra as missing:
        click.echo(f"papisim: note: {missing}; the figure's data is in {out / 'batch_by_policy.csv'}", err=True)
    else:
        click.echo(f"papisim: wrote {', '.join(str(file) for file in files)}", err=True)


def _write_csv(path: Path, records: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(records)
