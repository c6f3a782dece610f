"""Run a sweep: its points in chunks, one after another, in processes, or on a Dask cluster; the rows are the same."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from papisim import __version__
from papisim.errors import InputError, PapisimError
from papisim.results.store import check_free, manifest_head
from papisim.sweep.evaluate import Evaluator, Recall, forget
from papisim.sweep.file import SweepFile
from papisim.sweep.resolve import Resolver
from papisim.sweep.space import Values, grid, sampled
from papisim.sweep.store import MANIFEST, PARTS, Form, Journal, Memory, check_form, collect, prepare, write_json

if TYPE_CHECKING:
    import pandas as pd

#: how many rows there are by status, and how many of them were ``reused`` from before
Tally = Counter[str]

#: told after each piece of work what came of it
Progress = Callable[[Tally], None]

_LARGEST_CHUNK = 32
_CHUNKS_PER_WORKER = 8


@dataclass(frozen=True)
class Job:
    """What every worker must know.

    Attributes:
        file: the space.
        folder: of the sweep, seen by all workers.
        run: name of this run; those of its chunks start with it.
        form: of the frame.
        resume: whether runs that the folder knows are reused.
        version: of papisim, which must be the same everywhere.
    """

    file: SweepFile
    folder: Path
    run: str
    form: Form
    resume: bool
    version: str = __version__


@dataclass(frozen=True)
class Chunk:
    """Points that one worker computes one after another."""

    name: str
    points: tuple[tuple[int, Values], ...]


class Workers(Protocol):
    """Whoever computes chunks."""

    @property
    def count(self) -> int:
        """How many compute at the same time, as far as is known."""

    def map(self, job: Job, chunks: Sequence[Chunk], progress: Progress) -> Generator[Tally, None, None]:
        """Compute chunks, and yield what came of each as it is done.

        Closing the iterator early ends what is under way; finished rows are safe.
        """


@dataclass(frozen=True)
class Swept:
    """A finished sweep: its frame, one row a point, and how its points fared."""

    frame: pd.DataFrame
    tally: Tally


def points(file: SweepFile) -> list[Values]:
    """Return the points of a file's space, in order: all, or as many as it asks to be drawn.

    Raises:
        InputError: an axis without an end, or a condition that has no value.
    """
    holds = Resolver(file).holds
    if file.sampling is not None:
        return list(sampled(file.axes, file.sampling, holds))
    return list(grid(file.axes, holds))


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
        workers: who computes.
        form: of the frame.
        resume: reuse what the folder knows of runs with the same hash.
        force: replace the results in the folder.
        progress: told what came of points.

    Raises:
        InputError: the folder is not free, or cannot be made.
        PapisimError: workers died.
    """
    check_form(form)
    values = points(file)
    _make_room(folder, resume=resume, force=force)
    prepare(folder)
    run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
    manifest = {
        **manifest_head("sweep"),
        "sweep": file.document.data,
        "inputs": file.inputs(),
        "n_points": len(values),
    }
    write_json(folder / MANIFEST, manifest)
    job = Job(file, folder.absolute(), run, form, resume)
    tally: Tally = Counter()
    with closing(workers.map(job, _chunks(run, values, workers.count), progress)) as done:
        for part in done:
            tally += part
    frame = collect(folder, run, len(values), form, [*file.inputs(), *file.columns])
    write_json(folder / MANIFEST, {**manifest, "rows": dict(sorted(tally.items()))})
    return Swept(frame, tally)


def _make_room(folder: Path, *, resume: bool, force: bool) -> None:
    there = folder.is_dir() and any(folder.iterdir())
    if resume and there:
        if not (folder / MANIFEST).is_file():
            raise InputError(f"--out {folder} holds no results of a sweep; nothing can be resumed there")
        return
    check_free(folder, force=force)
    if there:
        shutil.rmtree(folder)


def _chunks(run: str, values: Sequence[Values], n_workers: int) -> list[Chunk]:
    size = max(1, min(_LARGEST_CHUNK, math.ceil(len(values) / (_CHUNKS_PER_WORKER * n_workers))))
    numbered = list(enumerate(values))
    starts = range(0, len(values), size)
    return [Chunk(f"{run}-{start:07d}", tuple(numbered[start : start + size])) for start in starts]


def run_chunk(job: Job, chunk: Chunk, progress: Progress = lambda tally: None) -> Tally:
    """Compute the points of a chunk and write their rows into the sweep's folder.

    A chunk that another worker left unfinished is taken up where it was.

    Raises:
        InputError: this worker has another papisim, or does not see the folder.
    """
    if job.version != __version__:
        raise InputError(f"a worker has papisim {__version__}, the sweep {job.version}; they must be the same")
    if not (job.folder / PARTS).is_dir():
        raise InputError(f"a worker does not see {job.folder / PARTS}; the folder must be shared by all workers")
    evaluator, recall = _bench(job)
    left = Memory.of(job.folder, chunk.name, frame=False)
    reused = 0

    def recalled(run_sha256: str) -> Any:
        nonlocal reused
        known = left.recall(run_sha256) or recall(run_sha256)
        reused += known is not None
        return known

    tally: Tally = Counter()
    with Journal(job.folder, chunk.name, job.form) as journal:
        for point, values in chunk.points:
            before = reused
            row = evaluator.row(point, values, recalled)
            journal.add(row)
            one = Counter({row.status: 1, "reused": reused - before})
            progress(one)
            tally += one
    return tally


_benches = threading.local()


def _bench(job: Job) -> tuple[Evaluator, Recall]:
    """Return this thread's evaluator of a job, and what the folder knew when the thread began with it."""
    if getattr(_benches, "run", None) != job.run:
        _benches.run, _benches.evaluator = job.run, Evaluator(job.file)
        _benches.recall = Memory.of(job.folder).recall if job.resume else forget
    return _benches.evaluator, _benches.recall


class Here:
    """Computes in this process, one point after another."""

    count = 1

    def map(self, job: Job, chunks: Sequence[Chunk], progress: Progress) -> Generator[Tally, None, None]:
        """Compute chunk after chunk."""
        for chunk in chunks:
            yield run_chunk(job, chunk, progress)


class Processes:
    """Computes in so many processes of this machine."""

    def __init__(self, count: int) -> None:
        self.count = count

    def map(self, job: Job, chunks: Sequence[Chunk], progress: Progress) -> Generator[Tally, None, None]:
        """Compute chunks side by side; processes that are still at work when the iterator is closed are ended."""
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(self.count, multiprocessing.get_context("spawn"), _leave_interrupts_to_the_parent)
        try:
            futures: list[Future[Tally]] = [pool.submit(run_chunk, job, chunk) for chunk in chunks]
            for future in as_completed(futures):
                progress(future.result())
                yield future.result()
        except BrokenProcessPool:
            raise PapisimError(
                "a worker process died, perhaps for want of memory; finished points are kept, --resume goes on"
            ) from None
        finally:
            ours = set(multiprocessing.active_children()) - others
            pool.shutdown(wait=False, cancel_futures=True)
            for process in ours:
                process.kill()


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def n_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
