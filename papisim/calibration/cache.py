"""Calibrations on disk, each under the hash of all that it depends on, so that a machine and a model are calibrated once.

The cache is a convenience: an entry that is missing, damaged or of another version of the simulator is computed again, and a folder that
cannot be written only costs time.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from papisim.bounded import BoundedDict
from papisim.catalog import cache_folder

#: entries on disk (about 20 kB each), of which the least recently used are dropped; entries in memory
_MOST, _MOST_IN_MEMORY = 500, 256
_FLOORS = ("acceptance", "calibration", "config", "devices", "engine", "ops", "plan", "policies")

_memory: BoundedDict[str, list[list[float]]] = BoundedDict(_MOST_IN_MEMORY)


def remembered(what: object, compute: Callable[[], list[list[float]]]) -> list[list[float]]:
    """Return columns of numbers from the cache, or compute and keep them.

    Args:
        what: plain values that determine the numbers, besides the simulator itself.
        compute: computes the numbers.
    """
    key = sha256_of([what, code_sha256()])
    if key not in _memory:
        path = cache_folder() / "calibrations" / f"{key}.json"
        found = _read(path)
        if found is None:
            found = [[float(number) for number in column] for column in compute()]
            _write(path, found)
        _memory[key] = found
    return _memory[key]


def sha256_of(value: object) -> str:
    """Return the hash of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def code_sha256() -> str:
    """Return the hash of the simulator's code that a calibration runs."""
    package, found = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for floor in _FLOORS for path in (package / floor).rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _read(path: Path) -> list[list[float]] | None:
    """Return the numbers of an entry, or None where there is none that is whole."""
    try:
        stored = json.loads(path.read_bytes())
        columns = [[float(number) for number in column] for column in stored["columns"]]
        if stored["sha256"] != sha256_of(columns):
            return None
        os.utime(path)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return columns


def _write(path: Path, columns: list[list[float]]) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"columns": columns, "sha256": sha256_of(columns)}, file)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _drop_oldest(path.parent)


def _drop_oldest(folder: Path) -> None:
    entries = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in entries[:-_MOST]:
        path.unlink(missing_ok=True)
