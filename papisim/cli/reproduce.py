"""``papisim reproduce``: does the simulator agree with the literature."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from papisim.cli._command import Command
from papisim.cli._figures import Asked, run
from papisim.cli._options import PositiveInt, format_option, print_json, quiet_option
from papisim.cli._readings import run as study
from papisim.errors import MissingExtra
from papisim.paper.reproduce import rows
from papisim.paper.speculation.figure import MACHINES, closed, figure, findings, machines_and_batches
from papisim.paper.verdict import Row
from papisim.report.console.claims import print_claims
from papisim.report.console.console import console
from papisim.report.print.batch_by_policy import draw
from papisim.results.store import check_free


@click.command(name="reproduce", cls=Command)
@click.argument("what", metavar="[FIGURE]...", nargs=-1)
@click.option(
    "--stance",
    type=click.Choice(["physical", "paper"]),
    default="physical",
    show_default=True,
    help="How the PAPI paper's open choices are read: as a machine would do, or as fits its numbers best.",
)
@click.option("--sensitivity", is_flag=True, help="Also move each assumed constant by a fifth, both ways.")
@click.option("--choice", "choices", multiple=True, help="Of ``readings``: cross this choice only; may be repeated.")
@click.option(
    "--resume", type=click.Path(path_type=Path, file_okay=False), help="Of ``readings``: keep finished runs here."
)
@click.option("--processes", type=PositiveInt(), help="How many runs at once.  [default: all cores]")
@format_option("table", "json", "csv")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for data, figures and a page.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@quiet_option
def command(
    *,
    what: tuple[str, ...],
    stance: str,
    sensitivity: bool,
    choices: tuple[str, ...],
    resume: Path | None,
    processes: int | None,
    output: str,
    out: Path | None,
    force: bool,
    quiet: bool,
) -> None:
    """Simulate what the literature claims, and print published, simulated, error and verdict.

    FIGURE is fig2, fig4, fig6, fig7, fig8, fig9, fig10a, fig10b, fig11, fig12 or eq4 of the PAPI paper; all of them, if none
    is named. ``readings`` scores every reading of what that paper leaves open instead, and ``speculation`` reproduces six
    systems that draft tokens. A verdict is ``in range`` where the
    simulated value is within the claim's tolerance, ``direction holds`` where it has the same sign of effect, else ``off``.

    \b
    Example:
      papisim reproduce fig7 eq4
      papisim reproduce --stance paper --out papi-paper
      papisim reproduce readings --choice prompts --choice attention_links
      papisim reproduce speculation
    """
    if what != ("readings",) and (choices or resume):
        raise click.UsageError("--choice and --resume go with 'readings' alone")
    if what == ("speculation",):
        _speculation(output, out, force=force, quiet=quiet)
    elif what == ("readings",):
        study(choices, output, out, force=force, quiet=quiet, processes=processes, resume=resume)
    else:
        asked = Asked(what, stance, sensitivity)
        run(asked, output, out, force=force, quiet=quiet, processes=processes)


def _speculation(output: str, out: Path | None, *, force: bool, quiet: bool) -> None:
    what = "speculation"
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
