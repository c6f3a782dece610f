"""Runs the experiments of a paper, in processes, each once, however many figures and interpretations need it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from types import MappingProxyType

from papisim.catalog import Shelf, find
from papisim.children import pool
from papisim.config.system import load_system
from papisim.devices.base import DevicePool
from papisim.devices.pim import Pool as PimPool
from papisim.ops.trace import KernelTrace, read_trace
from papisim.paper.archive import Archive
from papisim.paper.choices import Assignments, Choices, Interpretation
from papisim.paper.experiment import Cell, Job, Record, request_lengths, run_jobs
from papisim.paper.outcomes import Outcomes, Run
from papisim.plan.machine import build_machine

#: no assignments beside those of an interpretation
NOTHING: Assignments = MappingProxyType({})

#: called with the number of runs that are done, and that of all
Progress = Callable[[int, int], None]

_LOTS = (8, 64)  # least and most jobs of one machine that a process takes at a time: enough to share layouts among
_LOTS_EACH = 8  # lots that a process should have at least, so that all end at about the same time


class Lab:
    """Runs cells in interpretations and keeps the records.

    Args:
        choices: the paper's choices.
        processes: number of processes; one per core if None, this process if 1.
        progress: called after each lot of runs.
        archive: keeps finished runs beyond this process.
    """

    def __init__(
        self,
        choices: Choices,
        processes: int | None = None,
        progress: Progress | None = None,
        archive: Archive | None = None,
    ) -> None:
        self.choices = choices
        self._processes = processes or os.cpu_count() or 1
        self.progress = progress or (lambda done, of: None)
        self._archive = archive
        self._records: dict[Job, Record | None] = {}

    def outcomes(
        self, interpretation: Interpretation, cells: Iterable[Cell], further: Assignments = NOTHING
    ) -> Outcomes:
        """Run cells in an interpretation.

        Args:
            interpretation: alternatives of the choices.
            cells: cells to run.
            further: assignments beside those of the interpretation.
        """
        protocol = self.choices.protocol(interpretation)
        jobs = {cell: self._with(self.job(interpretation, cell), further) for cell in dict.fromkeys(cells)}
        self.run(jobs.values())
        return Outcomes({cell: Run.of(self._records[job]) for cell, job in jobs.items()}, protocol)

    def record(self, job: Job) -> Record | None:
        """Return the record of a job that has been run; None if it did not fit the memory."""
        return self._records[job]

    @property
    def n_records(self) -> int:
        """Number of runs."""
        return len(self._records)

    def job(self, interpretation: Interpretation, cell: Cell) -> Job:
        """Return the job of a cell in an interpretation."""
        case = cell.case
        overrides = self.choices.overrides(interpretation, cell.system)
        return Job(cell.system, overrides, case, request_lengths(case, self.choices.protocol(interpretation)))

    @staticmethod
    def _with(job: Job, further: Assignments) -> Job:
        return job._replace(overrides=job.overrides + further.get(job.system, ()))

    def run(self, jobs: Iterable[Job]) -> None:
        """Run the jobs that have not been run yet."""
        wanted = [job for job in dict.fromkeys(jobs) if not self._known(job)]
        least, most = _LOTS
        lots = list(_lots(wanted, max(least, min(most, len(wanted) // (_LOTS_EACH * self._processes)))))
        todo, done = sum(map(len, lots)), 0
        for lot, records in zip(lots, self._map(lots), strict=True):
            self._records.update(zip(lot, records, strict=True))
            if self._archive is not None:
                self._archive.add(lot, records)
            done += len(lot)
            self.progress(done, todo)

    def _known(self, job: Job) -> bool:
        if job not in self._records and self._archive is not None and job in self._archive:
            self._records[job] = self._archive[job]
        return job in self._records

    def _map(self, lots: Sequence[list[Job]]) -> Iterator[list[Record | None]]:
        if self._processes == 1 or len(lots) < 2:  # noqa: PLR2004
            yield from map(run_jobs, lots)
            return
        with pool(min(self._processes, len(lots))) as processes:
            yield from processes.map(run_jobs, lots)


def _trace(model: str) -> KernelTrace:
    return read_trace(find(Shelf.TRACE, model).path)


def _lots(jobs: Iterable[Job], most: int) -> Iterator[list[Job]]:
    """Yield jobs in lots of one machine and model each, of ``most`` jobs at most, the largest first."""
    by_machine: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        by_machine.setdefault((job.system, job.overrides, job.case.model), []).append(job)
    for several in sorted(by_machine.values(), key=len, reverse=True):
        rest = iter(several)
        while lot := list(islice(rest, most)):
            yield lot


class Bench:
    """Devices of the machines in an interpretation, for figures of single kernels."""

    def __init__(self, choices: Choices, interpretation: Interpretation, further: Assignments = NOTHING) -> None:
        self._choices, self._interpretation, self._further = choices, interpretation, further

    @cache  # noqa: B019 - lives as long as a figure is computed
    def pool(self, system: str, device: str) -> DevicePool:
        """Return a device of a machine."""
        overrides = self._choices.overrides(self._interpretation, system) + self._further.get(system, ())
        return build_machine(load_system(system, overrides)).pools[device]

    def pim(self, system: str, device: str) -> PimPool:
        """Return the PIM stacks of a machine that have a name."""
        pool = self.pool(system, device)
        if not isinstance(pool, PimPool):
            raise TypeError(f"found device '{device}' of {system} to be no PIM stacks")
        return pool

    def trace(self, model: str) -> KernelTrace:
        """Return a model's kernel trace."""
        return _trace(model)
