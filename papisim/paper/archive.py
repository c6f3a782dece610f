"""Finished runs on disk, so that a long study that was interrupted resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from papisim.catalog import data_folder
from papisim.paper.experiment import Job, Record

_PACKAGE = Path(__file__).parents[1]
_NOT_RUN = {
    "api",
    "cli",
    "diagnosis",
    "exploration",
    "paper",
    "pricing",
    "report",
    "results",
    "tracing",
    "validation",
}
_READ = (".yaml", ".csv")


class Archive:
    """Records of jobs in a file with one line per job; runs of another version of the simulator are not used."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"runs-{fingerprint()}.jsonl"
        self._records: dict[str, Record | None] = {}
        if self._file.exists():
            for line in self._file.read_text(encoding="utf-8").splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            key, stored = json.loads(line)
        except ValueError:  # the last line of a run that was interrupted
            return
        self._records[key] = None if stored is None else Record(np.array(stored[0]), *stored[1:])

    def __contains__(self, job: Job) -> bool:
        return _key(job) in self._records

    def __getitem__(self, job: Job) -> Record | None:
        return self._records[_key(job)]

    def add(self, jobs: Iterable[Job], records: Iterable[Record | None]) -> None:
        """Append the records of jobs."""
        with self._file.open("a", encoding="utf-8") as file:
            for job, record in zip(jobs, records, strict=True):
                stored = None if record is None else [record.parts.tolist(), *record[1:]]
                file.write(json.dumps([_key(job), stored]) + "\n")
                self._records[_key(job)] = record


def fingerprint(package: Path = _PACKAGE, data: Path | None = None) -> str:
    """Return a hash of all that a run depends on: the simulator, and the files that it reads.

    Figures, published values, choices, reports and commands are left out: they change what is run and what is made of it, and
    a job is stored under all that it runs.

    Args:
        package: folder of the package ``papisim``.
        data: folder with ``hwconfigs`` and ``traces``; the shipped one if None.
    """
    data = data or data_folder()
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0]
        if room not in _NOT_RUN or path == package / "paper" / "experiment.py":
            found.update(path.read_bytes())
    for folder in (data / "hwconfigs", data / "traces"):
        for path in sorted(path for path in folder.rglob("*") if path.suffix in _READ):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _key(job: Job) -> str:
    return hashlib.sha256(repr(job).encode()).hexdigest()[:32]
