"""Code from outside: a file, a module or an entry point of an installed package becomes a Python object.

A *reference* is ``path/to/file.py:Name``, ``package.module:Name``, or either of them without ``:Name``, which means the
module itself. Whatever is wrong with such code is an :class:`~papisim.errors.InputError` with file and line; a traceback
through papisim would tell a user nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from papisim import foreign
from papisim.errors import InputError, did_you_mean

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
#: modules imported from files live below this name, which no installed package has
_NAMESPACE = "papisim_outside"


@dataclass(frozen=True)
class Code:
    """Where the code of a kind is from, for manifests.

    Attributes:
        path: its file.
        sha256: of that file's bytes.
        distribution: name and version of the installed package whose entry point it is; None for others.
    """

    path: str
    sha256: str
    distribution: str | None = None


#: files of code from outside that were imported
_IMPORTED: set[str] = set()


def is_reference(text: str) -> bool:
    """Return whether a text has the form of a reference to code outside, rather than that of a kind's name."""
    home, colon, name = _split(text)
    if home.endswith(".py"):
        return True
    return bool(colon and _DOTTED.fullmatch(home) and _DOTTED.fullmatch(name))


def is_module(text: str) -> bool:
    """Return whether a text is the dotted name of a module that can be found."""
    if "." not in text or not _DOTTED.fullmatch(text):
        return False
    try:
        return importlib.util.find_spec(text) is not None
    except ImportError:
        return False


def absolute(reference: str, folder: Path) -> str:
    """Return a reference that means the same in every folder.

    Args:
        reference: as a user wrote it.
        folder: what a relative path is relative to.
    """
    home, colon, name = _split(reference)
    if not home.endswith(".py"):
        return reference  # a name, or a module, which is found on the path of modules
    return f"{(folder / Path(home).expanduser()).resolve()}{colon}{name}"


def reference_to(cls: type) -> str:
    """Return the reference to a class that has been imported, such as one of a notebook."""
    return f"{cls.__module__}:{cls.__qualname__}"


def load(reference: str) -> object:
    """Import what a reference names: a module, or an object in it.

    Raises:
        InputError: no such file, module or name, or code that cannot be imported; with file and line.
    """
    home, colon, name = _split(reference)
    module = _from_file(home) if home.endswith(".py") else _from_name(home)
    return _inside(module, name) if colon else module


def fault_in(error: BaseException) -> InputError | None:
    """Return an error that names the file, line and function of imported code that raised, or that called what raised.

    Returns:
        None where no code from outside had a part in the error.
    """
    seen: BaseException | None = error
    places: list[tuple[str, int, str]] = []
    while seen is not None:
        frames = traceback.walk_tb(seen.__traceback__)
        places += [
            (f.f_code.co_filename, line, f.f_code.co_qualname)
            for f, line in frames
            if f.f_code.co_filename in _IMPORTED
        ]
        seen = seen.__cause__ or seen.__context__
    if not places:
        return None
    file, line, function = places[-1]
    return InputError(f"{function} raised {type(error).__name__}: {error}", file=file, line=line)


def entry_points_of(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of all installed packages in a group, by name, sorted."""
    return {each.name: each for each in sorted(entry_points(group=group), key=lambda each: each.name)}


def code_of(home: object, entry_point: EntryPoint | None = None) -> Code:
    """Return where a module's or a class's code is from."""
    name = home.__name__ if isinstance(home, ModuleType) else getattr(home, "__module__", "")
    path = getattr(sys.modules.get(name), "__file__", None)
    if path is None:  # typed into an interpreter or a notebook
        return Code(f"<{name}>", "")
    distribution = entry_point.dist if entry_point is not None else None
    return Code(
        path,
        hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        f"{distribution.name} {distribution.version}" if distribution else None,
    )


def _split(reference: str) -> tuple[str, str, str]:
    """Split at the last colon; one that a path has, as that of a drive, is no such colon."""
    home, colon, name = reference.rpartition(":")
    return (home, colon, name) if colon and not re.search(r"[\\/]", name) else (reference, "", "")


def _inside(module: ModuleType, name: str) -> object:
    try:
        found: object = reduce(getattr, name.split("."), module)
    except AttributeError:
        classes = [each for each, value in vars(module).items() if isinstance(value, type)]
        own = [each for each in classes if vars(module)[each].__module__ == module.__name__]
        raise InputError(f"no '{name}' here; {did_you_mean(name, own)}", file=module.__file__) from None
    return found


def _from_name(name: str) -> ModuleType:
    try:
        found = importlib.util.find_spec(name) if name not in sys.modules else None
    except ModuleNotFoundError as error:
        raise InputError(f"no module '{error.name}' that could be imported for '{name}'") from None
    except ValueError:
        found = None
    if found is None and name not in sys.modules:
        raise InputError(f"no module '{name}' that could be imported")
    path = found.origin if found is not None else None
    return _importing(lambda: importlib.import_module(name), path or name)


def _from_file(path: str) -> ModuleType:
    try:
        with foreign.open_file(Path(path)) as file:
            text = file.read()
    except OSError as error:
        raise InputError(f"may not be read ({error.strerror})", file=path) from None
    return _from_bytes(str(Path(path).resolve()), hashlib.sha256(text).hexdigest())


@cache
def _from_bytes(path: str, sha256: str) -> ModuleType:
    """Import a file; each content of it once, so that classes stay the same."""
    name = f"{_NAMESPACE}_{Path(path).stem}_{sha256[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError("is no Python file", file=path)
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    sys.modules[name] = module  # before it runs: dataclasses and pydantic look their module up there

    def run() -> ModuleType:
        loader.exec_module(module)
        return module

    try:
        return _importing(run, path)
    except InputError:
        del sys.modules[name]
        raise


def _importing(run: Callable[[], ModuleType], path: str) -> ModuleType:
    try:
        module = run()
        _IMPORTED.add(path)
        return module
    except SyntaxError as error:
        raise InputError(f"is no Python: {error.msg}", file=error.filename, line=error.lineno) from None
    except InputError:
        raise
    except Exception as error:  # whatever code of others raises
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        message = f"cannot be imported: {type(error).__name__}: {error}"
        raise InputError(message, file=path, line=lines[-1] if lines else None) from error
