"""Finished runs on disk, so that a long study can be interrupted and goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from papisim.catalog import data_folder
from papisim.paper.cell import Job, Record

_PACKAGE = Path(__file__).parents[1]


class Archive:
    """Records of jobs in a file that grows by a line a job; runs of another version of the program are not taken."""

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
        """Write down what came out of jobs."""
        with self._file.open("a", encoding="utf-8") as file:
            for job, record in zip(jobs, records, strict=True):
                stored = None if record is None else [record.parts.tolist(), *record[1:]]
                file.write(json.dumps([_key(job), stored]) + "\n")
                self._records[_key(job)] = record


def fingerprint() -> str:
    """Return a hash of all that a run depends on: the program and the files that it reads."""
    found = hashlib.sha256()
    data = data_folder()
    for folder, pattern in ((_PACKAGE, "*.py"), (data / "hwconfigs", "*.yaml"), (data / "traces", "*.yaml")):
        for path in sorted(folder.rglob(pattern)):
            if "paper" not in path.parts and "readings" not in path.parts and "published" not in path.parts:
                found.update(path.read_bytes())
    found.update((_PACKAGE / "paper" / "cell.py").read_bytes())
    return found.hexdigest()[:16]


def _key(job: Job) -> str:
    return hashlib.sha256(repr(job).encode()).hexdigest()[:32]
