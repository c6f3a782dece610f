"""Measured tables: CSV files written row by row, so that a run that is cut short can go on where it was."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from pathlib import Path

Value = str | int | float | None
Row = dict[str, Value]


def rows_measured(path: Path) -> int:
    """Return the number of complete rows that an interrupted run has left in the partial file of a table."""
    part = _part(path)
    if not part.exists():
        return 0
    lines = part.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    part.write_text("".join(whole), encoding="utf-8")
    return max(0, len(whole) - 1)


def write_table(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> int:
    """Write a table, or the rows still to be measured; the file gets its name only when complete, and is packed if that ends in ``.gz``.

    Returns:
        The number of rows, those of an earlier run included.
    """
    part = _part(path)
    n_rows = rows_measured(path)
    with part.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not file.tell():
            writer.writerow(columns)
        for row in rows:
            writer.writerow([written(row[column]) for column in columns])
            file.flush()
            n_rows += 1
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(part.read_bytes(), mtime=0))
        part.unlink()
    else:
        part.replace(path)
    return n_rows


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def written(value: Value) -> str:
    """Write a value: measured numbers with five digits, what was not measured as nothing."""
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
