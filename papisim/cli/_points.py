"""Output of sweeps and searches: progress, a table of points, the place of finished points after an interruption."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from papisim.cli._options import print_json
from papisim.exploration.frame import is_missing, points_json
from papisim.results.csv_files import write_csv

if TYPE_CHECKING:
    import pandas as pd

#: figures in the table on the terminal, beside the inputs
_SHOWN = ("throughput_tokens_per_s", "tpot_p99_s", "energy_per_token_j")
_MOST_ROWS, _MOST_REASONS = 20, 5
_FOUND = r": found \S+, the bound is \S+$"

frame_option = click.option(
    "--frame",
    "form",
    type=click.Choice(["parquet", "csv"]),
    default="parquet",
    show_default=True,
    help="Form of the frame.",
)

#: seconds between lines in a log
_LINE_EVERY_S = 10.0


@contextmanager
def point_progress(total: int, label: str, *, quiet: bool) -> Iterator[Callable[[Counter[str]], None]]:
    """Show on stderr the number of finished points, their rate and the time left; yields a function to call per result."""
    from papisim.report.console.console import console  # noqa: PLC0415 - start-up time

    if quiet:
        yield lambda tally: None
    elif (terminal := console(stderr=True)).is_terminal:
        with _bar(terminal, total, label) as advance:
            yield advance
    else:
        yield _Lines(total, label).advance


@contextmanager
def _bar(console: object, total: int, label: str) -> Iterator[Callable[[Counter[str]], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    rate = TextColumn("{task.fields[rate]}")
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        rate,
        TimeRemainingColumn(),
    )
    start = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:  # type: ignore[arg-type] # a console
        task = bar.add_task(label, total=total, rate="")
        seen: Counter[str] = Counter()

        def advance(tally: Counter[str]) -> None:
            seen.update(tally)
            done = n_points(seen)
            bar.update(task, completed=done, rate=f"{done / max(time.monotonic() - start, 1e-9):,.1f} points/s")

        yield advance


class _Lines:
    """Writes a line every few seconds."""

    def __init__(self, total: int, label: str) -> None:
        self._total, self._label = total, label
        self._start = self._last = time.monotonic()
        self._seen: Counter[str] = Counter()

    def advance(self, tally: Counter[str]) -> None:
        """Count points, and write a line when it is time for one."""
        self._seen.update(tally)
        now, done = time.monotonic(), n_points(self._seen)
        if now - self._last < _LINE_EVERY_S or not done:
            return
        self._last = now
        rate = done / (now - self._start)
        left_s = (self._total - done) / rate
        click.echo(
            f"papisim: {self._label}: {done:,} of {self._total:,} points, {rate:,.1f} points/s, "
            f"{left_s // 60:.0f} min {left_s % 60:.0f} s left",
            err=True,
        )


def n_points(tally: Counter[str]) -> int:
    """Return the number of points that a tally counts."""
    return sum(count for status, count in tally.items() if status != "reused")


def say_what_is_kept(folder: Path, out: Path | None, *, quiet: bool) -> None:
    """Print where finished points are; where there are none, remove the folder that was made for them."""
    there = folder / "parts"
    if there.is_dir() and any(there.iterdir()):
        if not quiet:
            click.echo(
                f"papisim: finished points are kept; the same command with --out {folder} --resume continues",
                err=True,
            )
    elif out is None:
        shutil.rmtree(folder, ignore_errors=True)


def show_points(
    frame: pd.DataFrame,
    tally: Counter[str],
    leading: list[str],
    output: str,
    *,
    schema: str,
    title: str,
    inputs: Sequence[str] = (),
) -> None:
    """Print a frame: all rows as CSV or JSON, or what the inputs of its points mean and the first rows as a table."""
    if output == "csv":
        write_csv(frame, sys.stdout)
    elif output == "json":
        print_json(points_json(schema, frame))
    else:
        _print_meaning(frame, inputs)
        _print_points(frame, tally, leading, title=title)


def _print_meaning(frame: pd.DataFrame, inputs: Sequence[str]) -> None:
    from papisim.report.console.console import console  # noqa: PLC0415 - start-up time
    from papisim.report.meaning_of_points import meaning_of_points  # noqa: PLC0415

    for sentence in meaning_of_points(frame, inputs) if inputs else ():
        console().print(sentence)


def _print_points(frame: pd.DataFrame, tally: Counter[str], leading: list[str], *, title: str) -> None:
    """Print the first rows of a frame, the number of points by status, and the commonest reasons."""
    from rich.table import Table  # noqa: PLC0415 - start-up time

    from papisim.report.console.console import console  # noqa: PLC0415

    names = ["point", *(name for name in dict.fromkeys([*leading, *_SHOWN]) if name in frame.columns)]
    table = Table(*names, "status", title=title)
    for row in frame.head(_MOST_ROWS).to_dict("records"):
        status = row["status"] if is_missing(row["constraint"]) else f"{row['status']}: {row['constraint']}"
        table.add_row(*(_cell(row[name]) for name in names), status)
    console().print(table)
    if len(frame) > _MOST_ROWS:
        console().print(f"… and {len(frame) - _MOST_ROWS:,} more", style="dim")
    console().print(", ".join(f"{count:,} {status}" for status, count in sorted(tally.items())))
    # the value found differs between points; the violated constraint does not
    reasons = frame["reason"].astype("str").str.replace(_FOUND, "", regex=True)
    for reason, count in reasons[frame["status"] != "ok"].value_counts().head(_MOST_REASONS).items():
        console().print(f"{count:,} × {reason}", style="dim")


def _cell(value: object) -> str:
    if is_missing(value):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
