"""Write results to a folder: all of them or none, and never over others unless asked."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from papisim import __version__
from papisim.config.experiment import Experiment
from papisim.engine.run import Run
from papisim.errors import InputError
from papisim.results.command import origin_of_results
from papisim.results.csv_files import write_csv
from papisim.results.metrics import summarise
from papisim.results.seal import MANIFEST, MANIFEST_SCHEMA, file_sha256, sealed, sha256_of

if TYPE_CHECKING:
    import pandas as pd


def check_free(folder: Path, *, force: bool) -> None:
    """Refuse a folder that cannot be made or whose content may not be replaced; call it before long work.

    Raises:
        InputError: the folder is not empty, is a file, is the current folder, or cannot be made.
    """
    try:
        _check_free(folder, force=force)
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, a loop of links, a NUL
        raise InputError(f"--out {folder} cannot be made: {getattr(error, 'strerror', None) or error}") from None


def _check_free(folder: Path, *, force: bool) -> None:
    if folder.resolve() == Path.cwd():
        raise InputError(f"--out {folder} is the current folder, expected a folder for these results alone")
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"--out {folder} is {'a file' if folder.exists() else 'a broken link'}, expected a folder")
    parent = next(parent for parent in (*folder.absolute().parents, Path("/")) if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"--out {folder} cannot be made in {parent}")
    if folder.is_dir() and any(folder.iterdir()):
        if not force:
            raise InputError(f"--out {folder} is not empty; choose another folder or add --force")
        if not (folder / MANIFEST).is_file():
            raise InputError(f"--out {folder} holds no papisim results; it is not replaced even with --force")


def check_file(path: Path, *, force: bool) -> None:
    """Refuse a file that cannot be written or may not be replaced; call it before long work.

    Raises:
        InputError: it is there, is a folder or a device, or cannot be made.
    """
    if path.is_dir():
        raise InputError("is a folder, expected a file to write", file=str(path))
    if path.exists() and not path.is_file():
        raise InputError("is a device or a pipe, expected a file to write", file=str(path))
    if path.exists() and not force:
        raise InputError("is already there; choose another file or add --force", file=str(path))
    if path.is_symlink() and not path.exists():
        raise InputError("is a broken link, expected a file to write", file=str(path))
    parent = path.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot be made in {parent}", file=str(path))


@contextmanager
def open_file(path: Path, *, force: bool = False) -> Iterator[TextIO]:
    """Open a file for writing; it appears complete when the block ends without an error, or not at all.

    Raises:
        InputError: as :func:`check_file`.
    """
    check_file(path, force=force)
    handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_file(path: Path, text: str, *, force: bool = False) -> None:
    """Write a file, complete or not at all.

    Raises:
        InputError: as :func:`check_file`.
    """
    with open_file(path, force=force) as file:
        file.write(text)


def write_run(run: Run, frames: Mapping[str, pd.DataFrame], folder: Path, *, force: bool = False) -> None:
    """Write a run's frames, its summary and its manifest; the folder appears complete or not at all.

    Args:
        run: the run.
        frames: its frames, usually those of :func:`papisim.pricing.frames.run_frames`.
        folder: where to write.
        force: replace results that are there.

    Raises:
        InputError: the folder may not be replaced or cannot be made.
    """
    write_folder(folder, manifest(run), frames, summary=summarise(run), force=force)


def write_folder(
    folder: Path,
    manifest: Mapping[str, object],
    frames: Mapping[str, pd.DataFrame],
    *,
    summary: Mapping[str, object] | None = None,
    force: bool = False,
) -> None:
    """Write results: each frame as ``NAME.csv``, ``manifest.json``, and ``summary.json`` where there is a summary.

    The folder appears complete or not at all.

    Args:
        folder: where to write.
        manifest: kind and origin of the results; starts with :func:`manifest_head`.
        frames: tables by name.
        summary: figures of the whole.
        force: replace results that are there.

    Raises:
        InputError: the folder may not be replaced or cannot be made.
    """
    check_free(folder, force=force)
    folder = folder.resolve()  # what a link leads to is replaced, not the link
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"--out {folder} cannot be made: {error.strerror}") from None
    try:
        for name, frame in frames.items():
            write_csv(frame, fresh / f"{name}.csv")
        if summary is not None:
            _write_json(fresh / "summary.json", summary)
        _write_json(fresh / MANIFEST, sealed(manifest, fresh))
        fresh.chmod(0o755)
        _put(fresh, folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _put(fresh: Path, folder: Path) -> None:
    """Replace a folder by a complete one; the old one is removed last."""
    old = fresh.with_name(f"{fresh.name}-old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def manifest_head(kind: str) -> dict[str, object]:
    """Return the head of a manifest: its schema, kind of results, time of writing, versions of packages, command and inputs."""
    return {
        "schema": MANIFEST_SCHEMA,
        "kind": kind,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "papisim": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in ("numpy", "pandas", "simpy", "pydantic")},
        },
        **origin_of_results(),
    }


def manifest(run: Run) -> dict[str, object]:
    """Return a run's manifest: its resolved configuration, hash, versions and seed, from which it can be repeated."""
    return {**manifest_head("run"), **origin(run.experiment)}


def origin(experiment: Experiment) -> dict[str, object]:
    """Return the origin of a run: its resolved configuration, hash and seed, and the sources of its numbers."""
    resolved = experiment.resolved()
    return {
        "experiment_sha256": sha256_of(resolved),
        "trace_sha256": file_sha256(experiment.trace.path),
        "seed": experiment.seed,
        "experiment": resolved,
        "overrides": list(experiment.overrides),
        "sources": [
            {"file": Path(source.file).name, "path": source.path, "origin": source.origin, "note": source.note}
            for source in (*experiment.system.sources, *experiment.sources)
        ],
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
