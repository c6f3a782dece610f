"""Where a paper's experiments are run: in processes, each run once, whichever figures and readings ask for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from types import MappingProxyType

from papisim.calibration import alpha
from papisim.catalog import Shelf, find
from papisim.children import pool
from papisim.config.system import load_system
from papisim.devices.base import DevicePool
from papisim.ops.trace import KernelTrace, read_trace
from papisim.paper.archive import Archive
from papisim.paper.cell import Cell, Job, Record, request_lengths, run_jobs
from papisim.paper.outcomes import Outcomes, Run
from papisim.paper.readings import Reading, Readings
from papisim.plan.machine import build_machine

#: no assignments beside those of a reading
NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})

#: told after each lot of runs how many are done, of how many
Progress = Callable[[int, int], None]

_LOTS = (8, 64)  # least and most jobs of one machine that a process takes at a time: enough to share layouts among
_LOTS_EACH = 8  # lots that a process should have at least, so that all end at about the same time
_ALPHA_ROWS = 320  # token-rows up to which PAPI's threshold is looked for: above the largest batch × TLP of the paper


class Lab:
    """Runs cells in readings and remembers what came out.

    Args:
        readings: the paper's choices.
        processes: how many run at once; all cores if None, in this process if 1.
        progress: told how far it is.
        archive: where finished runs are kept beyond this process.
    """

    def __init__(
        self,
        readings: Readings,
        processes: int | None = None,
        progress: Progress | None = None,
        archive: Archive | None = None,
    ) -> None:
        self.readings = readings
        self._processes = processes or os.cpu_count() or 1
        self._progress = progress or (lambda done, of: None)
        self._archive = archive
        self._records: dict[Job, Record | None] = {}
        self._alphas: dict[tuple[str, tuple[str, ...]], int] = {}

    def outcomes(
        self, reading: Reading, cells: Iterable[Cell], further: Mapping[str, tuple[str, ...]] = NOTHING
    ) -> Outcomes:
        """Run cells in a reading.

        Args:
            reading: alternatives of the choices.
            cells: what to run.
            further: assignments to machines' fields beside those of the reading.
        """
        protocol = self.readings.protocol(reading)
        jobs = {cell: self._with(self.job(reading, cell), further) for cell in dict.fromkeys(cells)}
        self.run(jobs.values())
        return Outcomes({cell: Run.of(self._records[job]) for cell, job in jobs.items()}, protocol)

    def record(self, job: Job) -> Record | None:
        """Return what came out of a job that has been run; None where memory did not hold it."""
        return self._records[job]

    @property
    def n_records(self) -> int:
        """How many runs there are."""
        return len(self._records)

    def job(self, reading: Reading, cell: Cell) -> Job:
        """Return what a reading makes of a cell."""
        case = cell.case
        overrides = self.readings.overrides(reading, cell.system) + self._threshold(reading, cell)
        return Job(cell.system, overrides, case, request_lengths(case, self.readings.protocol(reading)))

    @staticmethod
    def _with(job: Job, further: Mapping[str, tuple[str, ...]]) -> Job:
        return job._replace(overrides=job.overrides + further.get(job.system, ()))

    def run(self, jobs: Iterable[Job]) -> None:
        """Run those of some jobs that have not been run."""
        wanted = [job for job in dict.fromkeys(jobs) if not self._known(job)]
        least, most = _LOTS
        lots = list(_lots(wanted, max(least, min(most, len(wanted) // (_LOTS_EACH * self._processes)))))
        todo, done = sum(map(len, lots)), 0
        for lot, records in zip(lots, self._map(lots), strict=True):
            self._records.update(zip(lot, records, strict=True))
            if self._archive is not None:
                self._archive.add(lot, records)
            done += len(lot)
            self._progress(done, todo)

    def _known(self, job: Job) -> bool:
        if job not in self._records and self._archive is not None and job in self._archive:
            self._records[job] = self._archive[job]
        return job in self._records

    def _threshold(self, reading: Reading, cell: Cell) -> tuple[str, ...]:
        """Return PAPI's α where a reading changes how fast FC is on either side; it is found offline, on that machine."""
        system = cell.system
        if not _has_threshold(system):
            return ()
        changed = {name: reading[name] for name in self.readings.touching(system, "fc") if name in reading}
        overrides = self.readings.overrides(changed, system)
        if not overrides:
            return ()
        key = cell.case.model, overrides
        if key not in self._alphas:
            self._alphas[key] = _fitted_alpha(system, *key)
        return (f"placement.alpha={self._alphas[key]}",)

    def _map(self, lots: Sequence[list[Job]]) -> Iterator[list[Record | None]]:
        if self._processes == 1 or len(lots) < 2:  # noqa: PLR2004
            yield from map(run_jobs, lots)
            return
        with pool(min(self._processes, len(lots))) as processes:
            yield from processes.map(run_jobs, lots)


@cache
def _has_threshold(system: str) -> bool:
    return bool(load_system(system).placement.kind == "papi")


def _fitted_alpha(system: str, model: str, overrides: tuple[str, ...]) -> int:
    trace = _trace(model)
    profile = alpha.profile(load_system(system, overrides), trace, _ALPHA_ROWS)
    return alpha.fit([profile], [trace.name]).alpha


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
    """Devices of a reading's machines, for figures of single kernels."""

    def __init__(
        self, readings: Readings, reading: Reading, further: Mapping[str, tuple[str, ...]] = NOTHING
    ) -> None:
        self._readings, self._reading, self._further = readings, reading, further

    @cache  # noqa: B019 - lives as long as a figure is computed
    def pool(self, system: str, device: str) -> DevicePool:
        """Return a device of a machine."""
        overrides = self._readings.overrides(self._reading, system) + self._further.get(system, ())
        return build_machine(load_system(system, overrides)).pools[device]

    def trace(self, model: str) -> KernelTrace:
        """Return a model."""
        return _trace(model)
