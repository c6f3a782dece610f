"""The directory is the registry: which shipped files there are, and how a name becomes one of them.

There is no list to keep. A system is a file in ``hwconfigs/``, a device part one in ``hwconfigs/devices/``, an
energy table one in ``hwconfigs/devices/energy/``, a DRAM timing table one in ``hwconfigs/devices/dram/``, a kernel trace a folder in ``traces/kernels/``, that of a draft head one in ``traces/heads/``, a request trace a file in ``traces/requests/``, an acceptance
process one in ``traces/acceptance/``, the signals it shows one in ``traces/signals/``, policies in
``hwconfigs/policies/``, an engine profile a file in ``hwconfigs/engines/``. Kinds, which are code, are :mod:`papisim.kinds`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from papisim.errors import InputError, did_you_mean

_PACKAGE = Path(__file__).parent
YAML_SUFFIXES = (".yaml", ".yml")


class Shelf(Enum):
    """A kind of shipped file: the folder it is in, what it is called, and the file inside a folder entry."""

    SYSTEM = ("hwconfigs", "hardware", "")
    DEVICE = ("hwconfigs/devices", "device", "")
    ENERGY = ("hwconfigs/devices/energy", "energy table", "")
    DRAM = ("hwconfigs/devices/dram", "timing table", "")
    TRACE = ("traces/kernels", "kernel trace", "trace.yaml")
    HEAD = ("traces/heads", "draft head", "trace.yaml")
    REQUESTS = ("traces/requests", "workload", "")
    PUBLIC = ("traces/public", "public trace", "")
    ACCEPTANCE = ("traces/acceptance", "acceptance process", "")
    SIGNALS = ("traces/signals", "signals", "")
    BATCHING = ("hwconfigs/policies/batching", "batching policy", "")
    SPECULATION = ("hwconfigs/policies/speculation", "speculation policy", "")
    DRAFTING = ("hwconfigs/policies/drafting", "draft source", "")
    ENGINE = ("hwconfigs/engines", "engine profile", "")

    def __init__(self, folder: str, noun: str, inner: str) -> None:
        self.folder, self.noun, self.inner = folder, noun, inner


class Substituted(str):
    """A note that a file was read in the place of another; commands show it even with ``--quiet``."""

    __slots__ = ()


@dataclass(frozen=True)
class Found:
    """A file that a name or path resolved to; ``note`` says so where it is not what was written."""

    name: str
    path: Path
    note: str | None = None


def data_folder() -> Path:
    """Return the folder that holds ``hwconfigs`` and ``traces``: inside an installed wheel, or the checkout."""
    inside = _PACKAGE / "shipped"
    return inside if inside.is_dir() else _PACKAGE.parent


def cache_folder() -> Path:
    """Return the folder of downloads and of what was calibrated: ``PAPISIM_CACHE``, or the user's cache folder."""
    import platformdirs  # noqa: PLC0415 - start-up time

    chosen = os.environ.get("PAPISIM_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("papisim", appauthor=False)


def shipped(shelf: Shelf) -> dict[str, Path]:
    """Return the shipped files of a shelf by name, sorted."""
    folder = data_folder() / shelf.folder
    if shelf.inner:
        return {path.parent.name: path for path in sorted(folder.glob(f"*/{shelf.inner}"))}
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _shipped_path(shelf: Shelf, name: str) -> Path:
    folder = data_folder() / shelf.folder
    return folder / name / shelf.inner if shelf.inner else folder / f"{name}.yaml"


def find(shelf: Shelf, name_or_path: str) -> Found:
    """Resolve a path, or the name of a shipped file.

    ``configs/NAME.yaml``, the path by which PAPI's artifact names its machines, resolves to the shipped system of that name
    with a note, unless there is a folder ``configs``.

    Raises:
        InputError: neither; the message has the nearest name.
    """
    path = Path(name_or_path)
    if shelf.inner and is_file(path / shelf.inner):
        path = path / shelf.inner
    if is_file(path):
        name = path.parent.name if shelf.inner and path.name == shelf.inner else path.stem
        return Found(name, path)
    if is_path(name_or_path):
        return _substitute(shelf, path)
    if name_or_path and is_file(inside := _shipped_path(shelf, name_or_path)):
        return Found(name_or_path, inside)
    hint = did_you_mean(name_or_path, shipped(shelf))
    raise InputError(f"no {shelf.noun} '{name_or_path}': neither a file nor a shipped name; {hint}")


def is_path(name_or_path: str) -> bool:
    """Return whether a text is written as a path: with a folder or the suffix of a YAML file."""
    path = Path(name_or_path)
    return path.suffix in YAML_SUFFIXES or len(path.parts) > 1


def _substitute(shelf: Shelf, path: Path) -> Found:
    """Return the shipped system that a path without a file stands for; refuse any other path."""
    known = shipped(shelf)
    if (
        shelf is Shelf.SYSTEM
        and path == Path("configs", f"{path.stem}.yaml")
        and not path.parent.exists()
        and path.stem in known
    ):
        note = Substituted(f"{path} does not exist; using the shipped {path.stem}")
        return Found(path.stem, known[path.stem], note)
    if path.stem in known:
        hint = f"the shipped {shelf.noun} of that name is '{path.stem}', without folder and suffix"
    else:
        hint = did_you_mean(path.stem, known)
    raise InputError(f"no {shelf.noun} '{path}': there is no such file; {hint}")


def is_file(path: Path) -> bool:
    """Return whether a path is a file; a text too long for a path is none."""
    try:
        return path.is_file()
    except OSError:  # a name longer than file systems take is no file
        return False
