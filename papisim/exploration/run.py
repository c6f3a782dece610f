"""Run a sweep: every point of its space becomes one row of one frame."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from papisim.errors import InputError
from papisim.exploration.file import SweepFile
from papisim.exploration.resolve import Resolver
from papisim.exploration.space import Interval, Values, grid, sampled
from papisim.exploration.store import MANIFEST, Form, check_form, clear, collect, prepare, write_json
from papisim.exploration.workers import Job, Progress, Tally, Workers, chunks
from papisim.results.lock import only_writer
from papisim.results.seal import sealed
from papisim.results.store import check_free, manifest_head

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Swept:
    """A finished sweep: its frame, one row per point, and the number of points by status."""

    frame: pd.DataFrame
    tally: Tally


def points(file: SweepFile) -> list[Values]:
    """Return the points of a file's space, in order: all, or those that are drawn.

    Raises:
        InputError: an axis without an end, or a condition that has no value.
    """
    holds = Resolver(file).holds
    if file.sampling is not None:
        return list(sampled(file.axes, file.sampling, holds))
    for axis in file.axes:
        if isinstance(axis.domain, Interval):
            message = f"axis {axis.title} has endlessly many values; give n or step, or a 'sample'"
            raise file.document.error(file.place(axis.names[0]), message)
    try:
        return list(grid(file.axes, holds))
    except InputError as error:
        raise file.document.error(("space",), error.message) if error.place.file is None else error from None


def sweep(
    file: SweepFile,
    folder: Path,
    workers: Workers,
    form: Form = "parquet",
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress = lambda tally: None,
) -> Swept:
    """Evaluate every point of a space and write one frame.

    Args:
        file: the space.
        folder: for the frame, the manifest and, meanwhile, the parts.
        workers: compute the points.
        form: of the frame.
        resume: reuse the runs of the folder that have the same hash.
        force: replace the results in the folder.
        progress: called with the tally of finished points.

    Raises:
        InputError: the folder is not free, or cannot be made.
        PapisimError: workers died.
    """
    check_form(form)
    values = points(file)
    with room(folder, resume=resume, force=force):
        run = name_of_run()
        manifest = {
            **manifest_head("sweep"),
            "sweep": file.document.data,
            "inputs": file.inputs(),
            "n_points": len(values),
        }
        write_json(folder / MANIFEST, sealed(manifest, folder))
        job = Job(file, folder.absolute(), run, form, resume)
        tally: Tally = Counter()
        with closing(workers.map(job, chunks(run, list(enumerate(values)), workers.count), progress)) as done:
            for part in done:
                tally += part
        frame = collect(folder, run, len(values), form, [*file.inputs(), *file.columns])
        write_json(folder / MANIFEST, sealed({**manifest, "rows": dict(sorted(tally.items()))}, folder))
    return Swept(frame, tally)


@contextmanager
def room(folder: Path, *, resume: bool, force: bool, shared: bool = False) -> Iterator[None]:
    """Make the folder of a sweep or search, replace what is there if told to, and hold it while the block writes.

    Args:
        folder: where results go.
        resume: continue what is there.
        force: replace what is there.
        shared: other processes may write there at the same time.

    Raises:
        InputError: the folder is not free, cannot be made, is being written by another process, or holds nothing to resume.
    """
    there = folder.is_dir() and any(folder.iterdir())
    if resume and there and not (folder / MANIFEST).is_file():
        raise InputError(f"--out {folder} holds no results of a sweep; nothing can be resumed there")
    if not resume:
        check_free(folder, force=force)
    prepare(folder)
    with nullcontext() if shared else only_writer(folder):
        if there and not resume:
            clear(folder)
        yield


def name_of_run() -> str:
    """Return a name that no other run has; the chunks of a run start with it."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
