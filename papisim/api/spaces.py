"""Sweeps and searches of a declared space of designs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from papisim.api.results import ParetoResult, SweepResult
from papisim.config.yaml import dump
from papisim.errors import InputError
from papisim.exploration.computing import Computing
from papisim.exploration.file import SweepFile, load_sweep, read_sweep
from papisim.exploration.optimise import check_search
from papisim.exploration.optimise import optimise as search
from papisim.exploration.preflight import check_space
from papisim.exploration.run import points
from papisim.exploration.run import sweep as evaluate
from papisim.exploration.store import Form
from papisim.exploration.workers import Workers

#: a file of a sweep, or its content
Space = str | Path | Mapping[str, object]


def sweep(
    space: Space,
    out: str | Path | None = None,
    *,
    workers: int | Computing = 1,
    frame: Form = "parquet",
    resume: bool = False,
    force: bool = False,
) -> SweepResult:
    """Evaluate every point of a declared space, as ``papisim sweep`` does.

    Args:
        space: the file of the sweep, or its content as a mapping (``schema`` may be left out).
        out: folder for the frame and the manifest; :func:`papisim.load` reads it.
        workers: number of processes, or a :class:`Computing` for a cluster; 1 is this process. A script that starts processes
            must do so below ``if __name__ == "__main__":``.
        frame: form of the frame in ``out``.
        resume: reuse every run that ``out`` has.
        force: replace the results in ``out``.

    Raises:
        InputError, InputErrors: what is wrong with the file, with places; a folder that is not free.
        MissingExtra: Dask or pyarrow is not installed.
        PapisimError: workers died; finished points are kept in ``out``.
    """
    found = _read(space)
    check_space(found, points(found))
    with _folder(out, resume=resume) as folder, _open(workers) as computers:
        form = frame if out is not None else "csv"
        swept = evaluate(found, folder, computers, form, resume=resume, force=force)
    return SweepResult(swept.frame, dict(swept.tally))


def optimise(
    space: Space,
    out: str | Path | None = None,
    *,
    trials: int | None = None,
    storage: str | None = None,
    warm_start: str | Path | None = None,
    workers: int | Computing = 1,
    frame: Form = "parquet",
    resume: bool = False,
    force: bool = False,
) -> ParetoResult:
    """Search a declared space for non-dominated designs, as ``papisim optimise`` does.

    Args:
        space: as in :func:`sweep`; with objectives.
        out: folder for the frames, the study and the manifest; :func:`papisim.load` reads it.
        trials: points to try. If None, the number in the file.
        storage: a study that several machines share: a journal file or a database (``sqlite:///…``).
        warm_start: folder or frame of a sweep whose best points are tried first.
        workers: as in :func:`sweep`.
        frame: form of the frames in ``out``.
        resume: continue the study in ``out``.
        force: replace the results in ``out``.

    Raises:
        InputError, InputErrors: what is wrong with the file, with places; no objectives; a folder that is not free.
        MissingExtra: Optuna, Dask or pyarrow is not installed.
        PapisimError: workers died; finished points are kept in ``out``.
    """
    found = _read(space)
    check_search(found)
    with _folder(out, resume=resume) as folder, _open(workers) as computers:
        done = search(
            found,
            folder,
            computers,
            frame if out is not None else "csv",
            trials=trials,
            storage=storage,
            warm_start=None if warm_start is None else Path(warm_start),
            resume=resume,
            force=force,
        )
    return ParetoResult(done.frame, dict(done.tally), done.front)


def _read(space: Space) -> SweepFile:
    if isinstance(space, Mapping):
        return read_sweep(dump({"schema": "papisim/sweep/1", **space}), "space", Path.cwd())
    return load_sweep(Path(space))


@contextmanager
def _folder(out: str | Path | None, *, resume: bool) -> Iterator[Path]:
    """Yield the folder of the results, which is removed afterwards if none was given."""
    if out is not None:
        yield Path(out)
        return
    if resume:
        raise InputError("'resume' needs 'out', the folder to continue in")
    with TemporaryDirectory(prefix="papisim-") as folder:
        yield Path(folder)


def _open(workers: int | Computing) -> AbstractContextManager[Workers]:
    chosen = Computing(workers=workers) if isinstance(workers, int) else workers
    return chosen.open(lambda note: None)
