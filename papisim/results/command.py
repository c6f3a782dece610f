"""The command that makes results, and the files that it read, as manifests record them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from papisim import catalog, foreign
from papisim.results.seal import file_sha256

#: the folder that a path of an input is relative to: papisim's data, its cache, or the user's working folder
Origin = Literal["shipped", "cache", "user"]

#: folders of papisim's data
_SHIPPED = ("hwconfigs", "traces", "kernels")


@dataclass(frozen=True)
class Command:
    """A command of papisim: its name, and its arguments without those that say where and how results are shown."""

    name: str
    arguments: tuple[str, ...]


_current: ContextVar[Command | None] = ContextVar("command", default=None)


@contextmanager
def running(name: str, arguments: Sequence[str]) -> Iterator[None]:
    """Record a command, and the files that are read, in the manifests that the block writes."""
    token = _current.set(Command(name, tuple(arguments)))
    try:
        with foreign.recording():
            yield
    finally:
        _current.reset(token)


def origin_of_results() -> dict[str, object]:
    """Return the command and its inputs; nothing where results are written by a program of the user's own."""
    command = _current.get()
    if command is None:
        return {}
    return {"command": {"name": command.name, "arguments": list(command.arguments)}, "input_files": input_files()}


def input_files() -> list[dict[str, str]]:
    """Return every file that was read so far, with the folder that its path is relative to and its SHA-256."""
    found = []
    for path in foreign.files_read():
        origin, name = _place(path)
        found.append({"path": name, "origin": origin, "sha256": file_sha256(path)})
    return sorted(found, key=lambda each: (each["origin"], each["path"]))


def _place(path: Path) -> tuple[Origin, str]:
    data, cache = catalog.data_folder().absolute(), catalog.cache_folder().absolute()
    if any(path.is_relative_to(data / name) for name in _SHIPPED):
        return "shipped", path.relative_to(data).as_posix()
    if path.is_relative_to(cache):
        return "cache", path.relative_to(cache).as_posix()
    return "user", Path(os.path.relpath(path)).as_posix()
