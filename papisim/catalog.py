"""The directory is the registry: which files and kinds there are, and how a name becomes one of them.

There is no list to keep. A system is a file in ``hwconfigs/``, a device part one in ``hwconfigs/devices/``, a
kernel trace a folder in ``traces/kernels/``, a request trace a file in ``traces/requests/``, an acceptance
process one in ``traces/acceptance/``, the signals it shows one in ``traces/signals/``, policies in ``hwconfigs/``; a kind of device or policy
is a module in its package.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from papisim.errors import InputError, did_you_mean

_PACKAGE = Path(__file__).parent
YAML_SUFFIXES = (".yaml", ".yml")


class Shelf(Enum):
    """A kind of shipped file: the folder it is in, what it is called, and the file inside a folder entry."""

    SYSTEM = ("hwconfigs", "hardware", "")
    DEVICE = ("hwconfigs/devices", "device", "")
    TRACE = ("traces/kernels", "kernel trace", "trace.yaml")
    REQUESTS = ("traces/requests", "workload", "")
    PUBLIC = ("traces/public", "public trace", "")
    ACCEPTANCE = ("traces/acceptance", "acceptance process", "")
    SIGNALS = ("traces/signals", "signals", "")
    BATCHING = ("hwconfigs/policies/batching", "batching policy", "")
    SPECULATION = ("hwconfigs/policies/speculation", "speculation policy", "")
    DRAFTING = ("hwconfigs/policies/drafting", "draft source", "")

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
    if shelf.inner and _is_file(path / shelf.inner):
        path = path / shelf.inner
    if _is_file(path):
        name = path.parent.name if shelf.inner and path.name == shelf.inner else path.stem
        return Found(name, path)
    if is_path(name_or_path):
        return _substitute(shelf, path)
    if name_or_path and _is_file(inside := _shipped_path(shelf, name_or_path)):
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


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than file systems take is no file
        return False


def kinds(package: str) -> list[str]:
    """Return the kinds in a package: its modules that define ``Part`` (devices), ``detect`` (trace formats) or ``Options`` (all others)."""
    module = importlib.import_module(package)
    names = [info.name for info in pkgutil.iter_modules(module.__path__) if not info.name.startswith("_")]
    return sorted(name for name in names if _is_kind(importlib.import_module(f"{package}.{name}")))


@cache
def is_kind(package: str, name: str) -> bool:
    """Tell whether a package has a kind of that name, without importing its others."""
    if not name.isidentifier() or importlib.util.find_spec(f"{package}.{name}") is None:
        return False
    return _is_kind(importlib.import_module(f"{package}.{name}"))


def load_kind(package: str, kind: str) -> ModuleType:
    """Import the module of a kind (``load_kind('papisim.policies.placement', 'papi')``).

    Raises:
        InputError: there is no such kind; the message has the nearest name.
    """
    if is_kind(package, kind):
        return importlib.import_module(f"{package}.{kind}")
    noun = package.rpartition(".")[2]
    raise InputError(f"unknown kind '{kind}' of {noun}; {did_you_mean(kind, kinds(package))}")


def build_kind(package: str, name: str, options: Any, *arguments: Any) -> Any:
    """Make what a kind's module calls ``name`` from options that say the kind."""
    return getattr(load_kind(package, options.kind), name)(options, *arguments)


def _is_kind(module: ModuleType) -> bool:
    return any(hasattr(module, name) for name in ("Part", "detect", "Options"))
