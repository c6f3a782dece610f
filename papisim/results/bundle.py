"""Results with everything that is needed to make them again, in one archive that names no folder of the machine.

A bundle is a ZIP archive: ``results/`` is the folder that ``--out`` wrote, ``inputs/`` has the files that the command read and
papisim does not ship, at the paths by which the command finds them when it is given in ``inputs/``, and ``README.txt`` says
how to repeat it.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from papisim import catalog
from papisim.errors import InputError
from papisim.results.command import Command
from papisim.results.folder import Json, Results, read_results
from papisim.results.seal import MANIFEST, file_sha256, sealed

RESULTS, INPUTS = "results", "inputs"

#: of a member of the archive, so that equal bundles are equal files
_DATE = (1980, 1, 1, 0, 0, 0)
#: bytes of all members together, and files; more is no bundle of results
_MOST_BYTES, _MOST_FILES = 1 << 32, 10_000
#: files of a folder that are text, in which paths are replaced
_TEXT = frozenset({".csv", ".json", ".jsonl", ".yaml", ".yml", ".md", ".txt"})
#: pages and figures are drawn again from the results
_DRAWN = frozenset({".html", ".png", ".pdf", ".svg"})
#: folder in ``inputs`` of files outside the folder that the command was given in
_ELSEWHERE = "elsewhere"


def command_of(results: Results) -> Command:
    """Return the command that made results.

    Raises:
        InputError: they were not made by a command, or by a version that did not record it.
    """
    recorded = results.manifest.get("command")
    if not isinstance(recorded, dict):
        message = "is missing; the results are from Python, or from a papisim that recorded no command"
        raise InputError(message, file=str(results.folder / MANIFEST), field="command")
    return Command(str(recorded["name"]), tuple(map(str, recorded["arguments"])))


def write_bundle(results: Results, file: Path) -> None:
    """Write a bundle of results; call it in the folder in which their command was given.

    Args:
        results: the folder of results.
        file: the archive, which appears complete or not at all.

    Raises:
        InputError: the manifest records no command; an input is missing or has changed since.
    """
    command = command_of(results)
    inputs = dict(_inputs(results))
    renamed = _renamed(inputs)
    arguments = [_rewritten(each, renamed) for each in command.arguments]
    temporary = file.with_name(f".{file.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "README.txt", _readme(results, command.name, arguments).encode())
            for path, name in sorted(inputs.items(), key=lambda each: each[1]):
                _add(archive, f"{INPUTS}/{name}", _content(path, renamed))
            _add_results(archive, results, arguments, renamed)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def unpack(file: Path, folder: Path) -> Results:
    """Unpack a bundle into an empty folder and return its results.

    Raises:
        InputError: it is no bundle, is too large, or its manifest is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > _MOST_FILES or sum(member.file_size for member in members) > _MOST_BYTES:
                raise InputError(
                    f"unpacks to more than {_MOST_BYTES >> 30} GiB or {_MOST_FILES:,} files", file=str(file)
                )
            archive.extractall(folder)
    except FileNotFoundError:
        raise InputError("no such file", file=str(file)) from None
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"is no bundle: {error}", file=str(file)) from None
    (folder / INPUTS).mkdir(exist_ok=True)
    return read_results(folder / RESULTS)


def _inputs(results: Results) -> Iterator[tuple[Path, str]]:
    """Yield the files of the user's own that a command read, with their paths in the folder of inputs.

    Raises:
        InputError: one of them is missing or has changed since.
    """
    recorded = [each for each in results.manifest["input_files"] if each["origin"] == "user"]
    paths = [Path(os.path.normpath(Path.cwd() / each["path"])) for each in recorded]
    for path, each in zip(paths, recorded, strict=True):
        if not path.is_file():
            raise InputError("is gone; the results were made from it", file=each["path"])
        if file_sha256(path) != each["sha256"]:
            raise InputError("has changed since the results were made from it", file=each["path"])
    outside = [path for path in paths if not path.is_relative_to(Path.cwd())]
    above = Path(os.path.commonpath([path.parent for path in outside])) if outside else Path.cwd()
    for path in paths:
        here = path.is_relative_to(Path.cwd())
        name = path.relative_to(Path.cwd()) if here else _ELSEWHERE / path.relative_to(above)
        yield path, name.as_posix()


def _renamed(inputs: Mapping[Path, str]) -> dict[str, str]:
    """Return the name in the bundle of every path of this machine that results may mention, the longest path first."""
    renamed: dict[str, str] = {}
    for path, name in inputs.items():
        for each, new in zip(
            (path, *path.parents), (PurePosixPath(name), *PurePosixPath(name).parents), strict=False
        ):
            if str(new) != ".":
                renamed[str(each)] = str(new)
                renamed[os.path.relpath(each)] = str(new)
    renamed |= {f"{catalog.data_folder()}/": "", f"{Path.cwd()}/": "", str(Path.cwd()): "."}
    renamed |= {str(catalog.cache_folder()): "cache", str(Path.home()): "~"}
    kept = {old: new for old, new in renamed.items() if old != new and old not in {"/", "."}}
    return dict(sorted(kept.items(), key=lambda each: -len(each[0])))


def _rewritten(text: str, renamed: Mapping[str, str]) -> str:
    for old, new in renamed.items():
        if old.startswith(("/", "..")):  # a name within the folder stays
            text = text.replace(old, new)
    return text


def _content(path: Path, renamed: Mapping[str, str]) -> bytes:
    return _rewritten(path.read_text("utf-8"), renamed).encode() if path.suffix in _TEXT else path.read_bytes()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)


def _add_results(
    archive: zipfile.ZipFile, results: Results, arguments: list[str], renamed: Mapping[str, str]
) -> None:
    import tempfile  # noqa: PLC0415 - start-up time

    files = sorted(path for path in results.folder.iterdir() if path.is_file() and path.suffix not in _DRAWN)
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            if path.name != MANIFEST:
                (Path(folder) / path.name).write_bytes(_content(path, renamed))
        manifest: Json = json.loads(_rewritten(json.dumps(results.manifest), renamed))
        manifest["command"]["arguments"] = arguments
        manifest.pop("manifest_sha256", None)
        text = json.dumps(sealed(manifest, Path(folder)), indent=2)
        for path in sorted(Path(folder).iterdir()):
            _add(archive, f"{RESULTS}/{path.name}", path.read_bytes())
    _add(archive, f"{RESULTS}/{MANIFEST}", text.encode())


def _readme(results: Results, name: str, arguments: list[str]) -> str:
    import shlex  # noqa: PLC0415 - start-up time

    versions = "\n".join(f"  {package} {version}" for package, version in results.manifest["versions"].items())
    return (
        f"Results of papisim ({results.kind}), with what is needed to make them again.\n\n"
        f"  papisim {name} {shlex.join(arguments)}\n\nmade them, in the folder inputs/, with\n\n{versions}\n\n"
        "papisim rerun BUNDLE.zip gives the command again and says whether every figure is the same.\n"
    )
