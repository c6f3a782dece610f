"""Where every number comes from.

Each hardware file has a ``sources:`` map from a field's path to its origin: a key of ``hwconfigs/sources.bib`` with the
place in that work, or one of the words in :data:`ORIGINS`. A path covers everything below it. A number without a source
is an error, and so is a source that covers nothing. A source may stand at a text: that it should be a number, or why it
says what it says, is not for sources to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from papisim import catalog, units
from papisim.config.inheritance import FIELD, check_acyclic, merge, take_extended
from papisim.config.yaml import Document, Path_, check_schema, load_yaml, parse_path, while_unchanged
from papisim.errors import InputError, did_you_mean, one_or_all

#: origins that are no publication, and what must be said of each
ORIGINS = {
    "assumed": "the reason",
    "calibrated": "the command that found it",
    "derived": "the formula",
    "fitted": "the data and the residual",
    "measured": "the table",
    "choice": "why the design has it",
}
#: origin of a number that an override replaced; no file may claim it
OVERRIDE = "override"
#: origin of everything that a file does not say itself; the note is the file that it extends
EXTENDS = "extends"
_NOT_NUMBERS = {"schema", "sources", "description", "kind", FIELD}


@dataclass(frozen=True)
class Source:
    """The origin of the numbers at and below one path of one file.

    ``origin`` is a key of the bibliography, a word of :data:`ORIGINS`, or :data:`OVERRIDE`; ``note`` is the place in the work, the reason,
    the formula.
    """

    file: str
    path: str
    origin: str
    note: str

    @property
    def is_assumption(self) -> bool:
        """Whether papisim's authors chose the value for want of a published one."""
        return self.origin == "assumed"


def take_sources(document: Document, ignore: frozenset[str] = frozenset()) -> tuple[list[Source], list[InputError]]:
    """Remove the ``sources:`` map from a document and check it against the numbers there.

    Args:
        document: the file; its ``sources`` field is taken out.
        ignore: top-level fields that carry no physical numbers.

    Returns:
        The sources, and everything wrong with them.
    """
    declared = document.data.pop("sources", None)
    if declared is None:
        return [], [document.error((), "field 'sources' is missing: every number needs one")]
    if not isinstance(declared, dict):
        return [], [document.error(("sources",), "found no mapping, expected one from field paths to sources")]
    sources: list[Source] = []
    errors: list[InputError] = []
    for field, origins in declared.items():
        try:
            sources += _read_entry(document, field, origins)
        except InputError as error:
            errors.append(error)
    return sources, errors + _coverage_errors(document, list(declared), ignore)


def without_overridden(sources: Iterable[Source], overridden: Mapping[Path_, str]) -> list[Source]:
    """Return the sources of numbers after overrides, which take away the citation of every number that they replace.

    A source that covers further numbers is kept for these.

    Args:
        sources: the sources of a file.
        overridden: by path in that file, the override as it was written.
    """
    kept = []
    for source in sources:
        field = parse_path(source.path)
        override = next((text for path, text in overridden.items() if field[: len(path)] == path), None)
        if override is None:
            kept.append(source)
        elif (replaced := Source(source.file, source.path, OVERRIDE, override)) not in kept:
            kept.append(replaced)
    return kept


def load_sourced(path: Path, schema: str) -> tuple[Document, list[Source], list[InputError]]:
    """Read a file of numbers, with what it extends (:mod:`papisim.config.inheritance`), and take out its schema and its sources.

    A file that extends another has a source ``extends`` for each link of the chain.

    Returns:
        The document, its sources, and everything wrong with them.

    Raises:
        InputError: a file cannot be read, is of another schema, or extends nothing that there is, or itself.
    """
    return _load_chain(path, schema, ())


def load_sound(path: Path, schema: str) -> tuple[Document, list[Source]]:
    """Read a file as :func:`load_sourced` does, and return the document and its sources.

    Raises:
        InputError, InputErrors: everything that is wrong with it.
    """
    document, sources, errors = load_sourced(path, schema)
    if errors:
        raise one_or_all(errors)
    return document, sources


def _load_chain(path: Path, schema: str, below: tuple[Path, ...]) -> tuple[Document, list[Source], list[InputError]]:
    """Read a file and what it extends; ``below`` are the files whose reading led here, resolved."""
    found, sources, errors = _load_sourced(path, schema)
    own, below = found.copy(), (*below, path.resolve())
    extended = take_extended(own, schema)
    if extended is None:
        return own, list(sources), list(errors)
    check_acyclic(own, extended.path, below)
    base, inherited, wrong = _load_chain(extended.path, schema, below)
    merge(base, own, extended.name)
    link = Source(own.file, FIELD, EXTENDS, extended.name)
    return base, [link, *sources, *(each for each in inherited if _is_left(each, base))], [*errors, *wrong]


def _is_left(source: Source, merged: Document) -> bool:
    """Return whether an inherited source still covers something that its own file says."""
    return source.origin == EXTENDS or any(covers(source, merged, path) for path, _ in merged.leaves())


def source_of(document: Document, sources: Iterable[Source], path: Path_) -> Source | None:
    """Return the source of the value at a path of a document; None for a default, or a value of no file.

    A source's path is one of its own file, which may have been put anywhere into the document; the longest that fits is taken.
    """
    written_in = document.mark(path).file
    if path not in document.values:
        return None
    fitting = [each for each in sources if each.file == written_in and _ends_below(path, parse_path(each.path))]
    return max(fitting, key=lambda each: len(parse_path(each.path)), default=None)


def _ends_below(path: Path_, field: Path_) -> bool:
    """Return whether a path, or what is left of it below a file that was put there, begins with a field."""
    return any(path[start : start + len(field)] == field for start in range(len(path) - len(field) + 1))


def covers(source: Source, document: Document, path: Path_) -> bool:
    """Return whether a source is that of the value at a path of a document, which may be merged from several files."""
    field = parse_path(source.path)
    return path[: len(field)] == field and document.mark(path).file == source.file


@while_unchanged
def _load_sourced(path: Path | str, schema: str) -> tuple[Document, list[Source], list[InputError]]:
    document = load_yaml(path)
    check_schema(document, schema)
    return document, *take_sources(document)


def _read_entry(document: Document, field: str, origins: object) -> list[Source]:
    place: Path_ = ("sources", field)
    if not isinstance(origins, dict) or not origins:
        raise document.error(place, "found no mapping, expected {SOURCE: place or reason}")
    known = [*bibliography(), *ORIGINS]
    for origin, note in origins.items():
        if origin not in known:
            raise document.error((*place, origin), f"unknown source; {did_you_mean(origin, known)}", at_key=True)
        if not isinstance(note, (str, int, float)) or not str(note).strip():
            wanted = ORIGINS.get(origin, "the section, table or equation")
            raise document.error((*place, origin), f"found {note!r}, expected {wanted}")
    return [Source(document.file, field, origin, str(note)) for origin, note in origins.items()]


def _coverage_errors(document: Document, declared: list[str], ignore: frozenset[str]) -> list[InputError]:
    covered = {field: parse_path(field) for field in declared}
    leaves = [(p, value) for p, value in document.leaves() if p and p[0] not in ignore | _NOT_NUMBERS]
    numbers = [path for path, value in leaves if _is_number(value)]
    sourced = [*numbers, *(path for path, value in leaves if isinstance(value, str))]
    bare = [path for path in numbers if not any(path[: len(field)] == field for field in covered.values())]
    idle = [f for f, field in covered.items() if not any(path[: len(field)] == field for path in sourced)]
    return [document.error(path, "has no entry in 'sources'", at_key=True) for path in bare] + [
        document.error(("sources", field), "covers no number of this file", at_key=True) for field in idle
    ]


def _is_number(value: object) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return True
    if not isinstance(value, str):
        return False
    for unit in units.UNITS:
        try:
            units.parse(value, unit)
        except InputError:
            continue
        return True
    return False


@dataclass(frozen=True)
class Work:
    """A publication or software of the bibliography; ``bibtex`` is its entry there."""

    key: str
    title: str
    author: str
    year: str
    bibtex: str

    def __str__(self) -> str:
        return f"{self.author.removeprefix('{').removesuffix('}').replace(' and others', ' et al.')}: {self.title} ({self.year})"


@cache
def bibliography() -> dict[str, Work]:
    """Return the works of ``hwconfigs/sources.bib`` by key (one field a line, as that file is written)."""
    text = (catalog.data_folder() / "hwconfigs" / "sources.bib").read_text(encoding="utf-8")
    return {work.key: work for work in map(_read_work, re.findall(r"^@\w+\{.*?^\}", text, re.MULTILINE | re.DOTALL))}


def _read_work(entry: str) -> Work:
    fields = dict(re.findall(r"^\s*(\w+)\s*=\s*\{(.*)\},?$", entry, re.MULTILINE))
    key = entry[entry.index("{") + 1 : entry.index(",")].strip()
    return Work(key, fields.get("title", ""), fields.get("author", ""), fields.get("year", ""), entry)
