"""``papisim sweep``: every point of a space of designs, as one frame."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from papisim.cli._options import PositiveInt, format_option, print_json, quiet_option
from papisim.cli._progress import point_progress
from papisim.errors import InputError
from papisim.report.console import console
from papisim.sweep.evaluate import INFEASIBLE
from papisim.sweep.file import load_sweep
from papisim.sweep.preflight import check_space
from papisim.sweep.run import Here, Processes, Swept, Workers, n_cpus, points, sweep

if TYPE_CHECKING:
    import pandas as pd

#: columns of a frame that the table on the terminal has besides the inputs, where they are there
_SHOWN = ("throughput_tokens_per_s", "tpot_p99_s", "energy_per_token_j")
_MOST_ROWS, _MOST_REASONS = 20, 5


@click.command(name="sweep")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the frame and the manifest.")
@click.option(
    "--workers", type=PositiveInt(), help="Processes, or workers of an embedded cluster.  [default: one a CPU]"
)
@click.option("--resume", is_flag=True, help="Reuse every run that --out knows; the file may have changed.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@click.option(
    "--frame",
    "form",
    type=click.Choice(["parquet", "csv"]),
    default="parquet",
    show_default=True,
    help="Form of the frame.",
)
@format_option("table", "csv", "json")
@quiet_option
def command(  # noqa: PLR0917
    file: Path, out: Path | None, workers: int | None, resume: bool, force: bool, form: Any, output: str, quiet: bool
) -> None:
    """Evaluate every point of the space that FILE declares, and write one frame with a row for each.

    A point that is infeasible or fails is a row with its reason. Interrupted, everything finished is kept, and --resume
    goes on. docs/sweep.md has the grammar of FILE by example.

    \b
    Example:
      papisim sweep scripts/dse/fpu_banks.yaml --out results/fpu_banks
    """
    found = load_sweep(file)
    values = points(found)
    check_space(found, values)
    if resume and out is None:
        raise InputError("--resume needs --out, the folder of the sweep that is to go on")
    folder = out or Path(tempfile.mkdtemp(prefix="papisim-sweep-"))
    seen: Counter[str] = Counter()
    try:
        with point_progress(len(values), found.name, quiet=quiet) as advance:

            def progress(tally: Counter[str]) -> None:
                seen.update(tally)
                advance(tally)

            swept = sweep(found, folder, _workers(workers), form, resume=resume, force=force, progress=progress)
    except BaseException:
        _say_what_is_kept(folder, len(values), quiet=quiet)
        raise
    _print(swept, output, [*found.inputs(), *found.columns])
    if out is None:
        shutil.rmtree(folder)
    elif not quiet:
        click.echo(f"papisim: wrote {out}", err=True)


def _workers(count: int | None) -> Workers:
    count = count or n_cpus()
    return Here() if count == 1 else Processes(count)


def _say_what_is_kept(folder: Path, total: int, *, quiet: bool) -> None:
    if (folder / "parts").is_dir() and not quiet:
        click.echo(
            f"papisim: finished points of {total:,} are kept; papisim sweep … --out {folder} --resume goes on",
            err=True,
        )


def _print(swept: Swept, output: str, leading: list[str]) -> None:
    frame = swept.frame
    if output == "csv":
        frame.to_csv(sys.stdout, index=False)
    elif output == "json":
        rows = [{name: value for name, value in row.items() if value is not None and value == value} for row in frame.to_dict("records")]  # fmt: skip # noqa: PLR0124
        print_json({"schema": "papisim/sweep-frame/1", "rows": rows})
    else:
        _print_table(frame, swept.tally, leading)


def _print_table(frame: pd.DataFrame, tally: Counter[str], leading: list[str]) -> None:
    names = ["point", *(name for name in dict.fromkeys([*leading, *_SHOWN]) if name in frame.columns)]
    table = Table(*names, "status", title=f"{len(frame):,} points")
    for row in frame.head(_MOST_ROWS).to_dict("records"):
        status = row["status"] if row["status"] != INFEASIBLE else f"{INFEASIBLE}: {row['constraint']}"
        table.add_row(*(_cell(row[name]) for name in names), status)
    console().print(table)
    if len(frame) > _MOST_ROWS:
        console().print(f"… and {len(frame) - _MOST_ROWS:,} more", style="dim")
    console().print(", ".join(f"{count:,} {status}" for status, count in sorted(tally.items())))
    for reason, count in frame["reason"].value_counts().head(_MOST_REASONS).items():
        console().print(f"{count:,} × {reason}", style="dim", markup=False)


def _cell(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
