"""``papisim sweep``: every point of a space of designs, as one frame."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from papisim.cli._options import format_option, print_json, quiet_option
from papisim.cli._progress import point_progress
from papisim.cli._workers import computing, worker_options
from papisim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

#: columns of a frame that the table on the terminal has besides the inputs, where they are there
_SHOWN = ("throughput_tokens_per_s", "tpot_p99_s", "energy_per_token_j")
_MOST_ROWS, _MOST_REASONS = 20, 5


@click.command(name="sweep")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the frame and the manifest.")
@worker_options
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
def command(
    *, file: Path, out: Path | None, resume: bool, force: bool, form: Any, output: str, quiet: bool, **workers: Any
) -> None:
    """Evaluate every point of the space that FILE declares, and write one frame with a row for each.

    A point that is infeasible or fails is a row with its reason. Interrupted, everything finished is kept, and --resume
    goes on. docs/sweep.md has the grammar of FILE by example.

    \b
    Example:
      papisim sweep scripts/dse/fpu_banks.yaml --out results/fpu_banks
    """
    from papisim.sweep.file import load_sweep  # noqa: PLC0415 - a word of help should not wait for the engine
    from papisim.sweep.preflight import check_space  # noqa: PLC0415
    from papisim.sweep.run import points, sweep  # noqa: PLC0415

    if resume and out is None:
        raise InputError("--resume needs --out, the folder of the sweep that is to go on")
    found = load_sweep(file)
    values = points(found)
    check_space(found, values)
    folder = out or Path(tempfile.mkdtemp(prefix="papisim-sweep-"))
    try:
        with (
            computing(quiet=quiet, **workers) as computers,
            point_progress(len(values), found.name, quiet=quiet) as progress,
        ):
            swept = sweep(found, folder, computers, form, resume=resume, force=force, progress=progress)
    except BaseException:
        _say_what_is_kept(folder, out, quiet=quiet)
        raise
    _print(swept.frame, swept.tally, output, [*found.inputs(), *found.columns])
    if out is None:
        shutil.rmtree(folder)
    elif not quiet:
        click.echo(f"papisim: wrote {out}", err=True)


def _say_what_is_kept(folder: Path, out: Path | None, *, quiet: bool) -> None:
    """Tell where finished points are, or leave nothing behind where there are none."""
    there = folder / "parts"
    if there.is_dir() and any(there.iterdir()):
        if not quiet:
            click.echo(
                f"papisim: finished points are kept; the same command with --out {folder} --resume goes on", err=True
            )
    elif out is None:
        shutil.rmtree(folder, ignore_errors=True)


def _print(frame: pd.DataFrame, tally: Counter[str], output: str, leading: list[str]) -> None:
    if output == "csv":
        frame.to_csv(sys.stdout, index=False)
    elif output == "json":
        rows = [
            {name: value for name, value in row.items() if not _is_empty(value)} for row in frame.to_dict("records")
        ]
        print_json({"schema": "papisim/sweep-frame/1", "rows": rows})
    else:
        _print_table(frame, tally, leading)


def _print_table(frame: pd.DataFrame, tally: Counter[str], leading: list[str]) -> None:
    from rich.table import Table  # noqa: PLC0415 - start-up time

    from papisim.report.console import console  # noqa: PLC0415

    names = ["point", *(name for name in dict.fromkeys([*leading, *_SHOWN]) if name in frame.columns)]
    table = Table(*names, "status", title=f"{len(frame):,} points")
    for row in frame.head(_MOST_ROWS).to_dict("records"):
        status = row["status"] if _is_empty(row["constraint"]) else f"{row['status']}: {row['constraint']}"
        table.add_row(*(_cell(row[name]) for name in names), status)
    console().print(table)
    if len(frame) > _MOST_ROWS:
        console().print(f"… and {len(frame) - _MOST_ROWS:,} more", style="dim")
    console().print(", ".join(f"{count:,} {status}" for status, count in sorted(tally.items())))
    for reason, count in frame["reason"].value_counts().head(_MOST_REASONS).items():
        console().print(f"{count:,} × {reason}", style="dim", markup=False)


def _cell(value: Any) -> str:
    if _is_empty(value):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_empty(value: Any) -> bool:
    import pandas as pd  # noqa: PLC0415 - start-up time

    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
