"""The folder of a sweep: rows are safe as soon as they are there, and become one frame in the end.

While a sweep runs, the worker of a chunk of points keeps a journal of them in ``parts/``, one line per row, and replaces
it by one table when the chunk is complete; no other worker writes there, and no file is ever half-written. When all chunks are
there they become ``frame.parquet`` (or ``frame.csv``) and ``parts/`` goes. What any of these files knows about a run is
reused by the run's hash when the sweep is resumed or changed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from papisim.errors import InputError, MissingExtra, PapisimError
from papisim.exploration.evaluate import Remembered, Row
from papisim.results.csv_files import write_csv

if TYPE_CHECKING:
    import pandas as pd

#: how the frame is written, and the tables of chunks
Form = Literal["parquet", "csv"]

PARTS, MANIFEST, FRAME = "parts", "manifest.json", "frame"

#: columns of a frame with the outcome of a point and the identity of its run
_OUTCOME = ("point", "status", "constraint", "constraint_kind", "violation_ratio", "reason")
_IDENTITY = ("simulated", "run_sha256")

#: where a frame says which of its columns are figures, that is neither inputs nor computed from anything
_FIGURES_KEY = b"papisim_figures"

Cells = dict[str, Any]


def check_form(form: Form) -> None:
    """Refuse a form that cannot be written here.

    Raises:
        MissingExtra: parquet without pyarrow.
    """
    if form == "parquet":
        try:
            import pyarrow  # noqa: F401, PLC0415 - optional
        except ImportError:
            raise MissingExtra("a frame in parquet (--frame csv does without)", "pyarrow", "sweep") from None


class Journal:
    """The rows of one chunk while they are being computed.

    Args:
        folder: of the sweep.
        chunk: name of the chunk; the journals and tables of a chunk start with it.
        form: parquet, or JSON lines, which are left as they are.
    """

    def __init__(self, folder: Path, chunk: str, form: Form) -> None:
        stem = folder / PARTS / f"{chunk}-{uuid.uuid4().hex[:12]}"
        self._lines, self._table = stem.with_suffix(".jsonl"), stem.with_suffix(".parquet")
        self._form = form
        self._rows: list[tuple[Cells, list[str]]] = []

    def __enter__(self) -> Self:
        self._file = self._lines.open("a", encoding="utf-8")
        return self

    def add(self, row: Row) -> None:
        """Write a row; it is safe when this returns."""
        cells, figures = row.as_cells(), list(row.figures)
        self._file.write(json.dumps({"row": cells, "figures": figures}) + "\n")
        self._file.flush()
        self._rows.append((cells, figures))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._form == "parquet":
            figures = dict.fromkeys(name for _, names in self._rows for name in names)
            rows = [cells for cells, _ in self._rows]
            _write_parquet(self._table, rows, columns_of(rows, ()), list(figures))
            self._lines.unlink()


def prepare(folder: Path) -> None:
    """Make the folder of a sweep.

    Raises:
        InputError: it cannot be made.
    """
    try:
        (folder / PARTS).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"--out {folder} cannot be made: {getattr(error, 'strerror', None) or error}") from None


def clear(folder: Path) -> None:
    """Remove the results in a folder, and leave it as :func:`prepare` does."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    prepare(folder)


class Memory:
    """What the files of a sweep's folder know of runs, by their hash."""

    def __init__(self) -> None:
        self._known: dict[str, Remembered] = {}

    @classmethod
    def of(cls, folder: Path, chunks: str = "", *, frame: bool = True) -> Self:
        """Read the parts of chunks whose name starts with ``chunks``, and all frames."""
        memory = cls()
        for path in [*(folder.glob("*.*") if frame else ()), *(folder / PARTS).glob(f"{chunks}*")]:
            for row, figures in _read_rows(path):
                memory.learn(row, figures)
        return memory

    def learn(self, row: Cells, figures: Iterable[str]) -> None:
        """Remember the outcome of a row's run, if it was simulated."""
        if not row.get("simulated") or not row.get("run_sha256"):
            return
        known = {name: row[name] for name in figures if row.get(name) is not None}
        if "makespan_s" in known:
            outcome = Remembered(known)
        else:  # simulated without an end: too small a machine, or what is not modelled
            told = {
                name: row[name]
                for name in ("constraint", "constraint_kind", "reason", "violation_ratio")
                if name in row
            }
            outcome = Remembered({}, row["status"], **told)
        self._known[row["run_sha256"]] = outcome

    def recall(self, run_sha256: str) -> Remembered | None:
        """Return the outcome of a run, if it was simulated before."""
        return self._known.get(run_sha256)


def collect(folder: Path, run: str, n_points: int, form: Form, leading: Sequence[str]) -> pd.DataFrame:
    """Put the chunks of a run together into one frame, write it, and drop the chunks.

    Args:
        folder: of the sweep.
        run: what the names of its chunks start with.
        n_points: how many points there must be, each once.
        form: how the frame is written.
        leading: columns that come before the figures, in order.

    Returns:
        The frame, one row per point, in order.

    Raises:
        PapisimError: a point has no row.
    """
    by_point, figures = gather(folder, run)
    missing = n_points - len(by_point)
    if missing:
        raise PapisimError(f"{missing} of {n_points} points have no row in {folder / PARTS}; run again with --resume")
    rows = [by_point[point] for point in sorted(by_point)]
    frame = write_frame(folder / FRAME, rows, leading=leading, figures=figures, form=form)
    shutil.rmtree(folder / PARTS)
    return frame


def write_frame(
    stem: Path, rows: list[Cells], *, leading: Sequence[str], figures: Sequence[str], form: Form
) -> pd.DataFrame:
    """Write rows as ``STEM.parquet``, or as ``STEM.csv`` and, exact, ``STEM.jsonl``; returns them as a frame."""
    columns = columns_of(rows, leading)
    if form == "parquet":
        _write_parquet(stem.with_suffix(".parquet"), rows, columns, figures)
    else:
        with _replacing(stem.with_suffix(".jsonl")) as fresh:
            fresh.write_text("".join(json.dumps({"row": row, "figures": list(figures)}) + "\n" for row in rows))
        with _replacing(stem.with_suffix(".csv")) as fresh:
            write_csv(frame_of(rows, columns), fresh)
    return frame_of(rows, columns)


def drop_parts(folder: Path, run: str) -> None:
    """Remove the chunks of a run; those of other runs in the folder stay."""
    for path in (folder / PARTS).glob(f"{run}*"):
        path.unlink()
    with suppress(OSError):  # not empty
        (folder / PARTS).rmdir()


def copy_frame(source: Path, folder: Path, name: str) -> None:
    """Copy a sweep's frame into a folder, so that what it knows of runs is reused there."""
    found = _frame_file(source)
    with _replacing(folder / f"{name}{found.suffix}") as fresh:
        fresh.write_bytes(found.read_bytes())


def gather(folder: Path, run: str) -> tuple[dict[int, Cells], list[str]]:
    """Return the rows of chunks whose name starts with ``run`` by point, and the names of all figures; a chunk that was computed twice has equal rows."""
    rows: dict[int, Cells] = {}
    figures: dict[str, None] = {}
    for path in sorted((folder / PARTS).glob(f"{run}*")):
        for row, names in _read_rows(path):
            rows[row["point"]] = row
            figures |= dict.fromkeys(names)
    return rows, sorted(figures)


def _read_rows(path: Path) -> Iterator[tuple[Cells, list[str]]]:
    """Yield the rows of a journal or table, each with the names of its figures; other files have none."""
    if path.suffix == ".jsonl":
        yield from ((line["row"], line["figures"]) for line in _read_lines(path))
    elif path.suffix == ".parquet":
        rows, figures = _read_parquet(path)
        yield from ((row, figures) for row in rows)


def frame_of(rows: list[Cells], columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of rows as a frame."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    cells = {name: [row.get(name) for row in rows] for name in columns}
    return pd.DataFrame({
        name: pd.array(values, dtype="Int64") if None in values and set(map(type, values)) == {int, type(None)} else values
        for name, values in cells.items()
    })  # fmt: skip


def columns_of(rows: Iterable[Cells], leading: Sequence[str]) -> list[str]:
    """Return the columns of a frame, in an order that does not depend on the workers: outcome, ``leading``, figures by name."""
    seen = {name for row in rows for name in row}
    first = [*_OUTCOME, *(name for name in leading if name in seen)]
    return list(dict.fromkeys([*first, *sorted(seen - {*_IDENTITY}), *(name for name in _IDENTITY if name in seen)]))


def read_frame(path: Path) -> tuple[list[Cells], list[str]]:
    """Read the rows of a sweep's frame, and which of its columns are figures.

    Args:
        path: the folder of a sweep, or its frame.

    Raises:
        InputError: there is none.
    """
    path = _frame_file(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    lines = list(_read_lines(path))
    return [line["row"] for line in lines], list(lines[0]["figures"]) if lines else []


def _frame_file(path: Path) -> Path:
    if path.is_dir():
        found = [path / f"{FRAME}.parquet", path / f"{FRAME}.jsonl"]
        path = next((each for each in found if each.is_file()), found[0])
    elif path.suffix == ".csv":
        path = path.with_suffix(".jsonl")
    if not path.is_file():
        raise InputError("no such file; expected the folder of a sweep, or its frame", file=str(path))
    return path


def write_json(path: Path, value: object) -> None:
    """Write plain values as JSON; the file appears complete or not at all."""
    with _replacing(path) as fresh:
        fresh.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Hand out a file to write that takes the place of another when it is complete."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    fresh = Path(name)
    try:
        yield fresh
        fresh.chmod(0o644)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal; one that was being written when its writer died is none."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _write_parquet(path: Path, rows: list[Cells], columns: Sequence[str], figures: Sequence[str]) -> None:
    import pyarrow as pa  # noqa: PLC0415 - optional
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pa.table({name: _column([row.get(name) for row in rows]) for name in columns})
    table = table.replace_schema_metadata({_FIGURES_KEY: json.dumps(list(figures)).encode()})
    with _replacing(path) as fresh:
        pq.write_table(table, fresh)


def _column(values: list[object]) -> object:
    """Return a column of one type: values of different types become text."""
    import pyarrow as pa  # noqa: PLC0415 - optional

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array(
            [None if value is None else value if isinstance(value, str) else str(value) for value in values]
        )


def _read_parquet(path: Path) -> tuple[list[Cells], list[str]]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - optional

    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as parquet: {error}", file=str(path)) from None
    figures = json.loads((table.schema.metadata or {}).get(_FIGURES_KEY, b"[]"))
    rows = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]
    return rows, figures
