"""Workers of a sweep or a search: this process, or several of this machine.

:mod:`papisim.exploration.cluster` has those of many machines.
"""

from __future__ import annotations

import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from papisim import __version__
from papisim.children import pool
from papisim.errors import InputError, PapisimError
from papisim.exploration.evaluate import Evaluator, Recall, Remembered, forget
from papisim.exploration.file import SweepFile
from papisim.exploration.space import Values
from papisim.exploration.store import PARTS, Form, Journal, Memory

#: number of rows by status, and of those ``reused`` from earlier runs
Tally = Counter[str]

#: called with the tally of each finished piece of work
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
    """Computes chunks of points."""

    @property
    def count(self) -> int:
        """Number of workers, as far as is known."""

    def map(self, job: Job, chunks: Sequence[Chunk], progress: Progress) -> Generator[Tally, None, None]:
        """Compute chunks, and yield the tally of each when it is done.

        Closing the iterator early ends what is under way; finished rows are safe.
        """


def chunks(name: str, points: Sequence[tuple[int, Values]], n_workers: int) -> list[Chunk]:
    """Deal numbered points into chunks, small enough that workers end at about the same time."""
    size = max(1, min(_LARGEST_CHUNK, math.ceil(len(points) / (_CHUNKS_PER_WORKER * n_workers))))
    starts = range(0, len(points), size)
    return [Chunk(f"{name}-{start:07d}", tuple(points[start : start + size])) for start in starts]


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

    def recalled(run_sha256: str) -> Remembered | None:
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
    """Computes in processes of this machine, which live as long as the ``with`` block."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> Self:
        self._block = ExitStack()
        self._pool = self._block.enter_context(pool(self.count, "spawn"))
        return self

    def map(self, job: Job, chunks: Sequence[Chunk], progress: Progress) -> Generator[Tally, None, None]:
        """Compute chunks side by side."""
        try:
            futures: list[Future[Tally]] = [self._pool.submit(run_chunk, job, chunk) for chunk in chunks]
            for future in as_completed(futures):
                progress(future.result())
                yield future.result()
        except BrokenProcessPool:
            raise PapisimError(
                "a worker process died, perhaps for want of memory; finished points are kept, --resume continues"
            ) from None

    def __exit__(self, *_: object) -> None:
        """End the processes, whatever they are computing."""
        self._block.close()


def n_cpus() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
