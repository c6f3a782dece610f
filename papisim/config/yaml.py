"""Read YAML safely and remember where everything stood.

PyYAML by itself reads ``no`` as False and ``312e12`` as text (YAML 1.1), lets the last of two equal keys win and
forgets line numbers. Here scalars follow the YAML 1.2 core schema, equal keys are refused, and every value keeps
its place for error messages. Only plain mappings, lists and scalars are accepted: no tags, so no Python objects,
and no aliases, so a small file cannot unfold into a huge one.
"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import yaml

from papisim import foreign
from papisim.errors import InputError, did_you_mean, printable

Path_ = tuple[str | int, ...]
P = ParamSpec("P")
R = TypeVar("R")
_MAX_DEPTH = 40
_MOST_BYTES = 1 << 23  # the largest shipped file, a kernel trace, has a tenth of a MiB
_MAX_DIGITS = 300  # more do not fit a float


class Mark(NamedTuple):
    """Where a value was written: a file with line and column, or an option of the command line."""

    file: str
    line: int | None = None
    column: int | None = None


@dataclass
class Document:
    """A tree of plain values and the place of each.

    ``keys`` has the place of a field's name, ``values`` that of its value; both are indexed by path.
    """

    data: Any
    file: str
    keys: dict[Path_, Mark] = field(default_factory=dict)
    values: dict[Path_, Mark] = field(default_factory=dict)

    def error(self, path: Path_, message: str, *, at_key: bool = False) -> InputError:
        """Make an error that points at a path, or at its nearest parent in the file."""
        mark = self.mark(path, at_key=at_key)
        return InputError(
            message, file=mark.file, line=mark.line, column=mark.column, field=dotted(path) if path else None
        )

    def mark(self, path: Path_, *, at_key: bool = False) -> Mark:
        """Return the place of a path, or of its nearest parent in the file."""
        if at_key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return Mark(self.file)

    def get(self, path: Path_) -> Any:
        """Return the value at a path; raises KeyError where there is none."""
        node = self.data
        for part in path:
            node = node[part]
        return node

    def graft(self, path: Path_, other: Document) -> None:
        """Put another document's tree at a path; its values keep the places in their own file."""
        self.get(path[:-1])[path[-1]] = other.data
        self.keys.update({path + inner: mark for inner, mark in other.keys.items()})
        self.values.update({path + inner: mark for inner, mark in other.values.items()})

    def replace(self, path: Path_, other: Document, mark: Mark | None = None) -> None:
        """Replace the tree at a path by another document, all of which was written at ``mark``.

        Without ``mark``, that is ``other.file``.
        """
        self._forget(path)
        self.graft(path, other)
        mark = mark or Mark(other.file)
        self.keys |= {path + inner: mark for inner in other.keys} | {path: mark}
        self.values |= {path + inner: mark for inner in other.values} | {path: mark}

    def take(self, path: Path_, other: Document) -> None:
        """Put what another document has at a path there, with its places, instead of what is there."""
        self._forget(path)
        self.graft(path, other.subtree(path))

    def _forget(self, path: Path_) -> None:
        """Drop the places of everything at and below a path."""
        for marks in (self.keys, self.values):
            for inner in [p for p in marks if p[: len(path)] == path]:
                del marks[inner]

    def subtree(self, path: Path_) -> Document:
        """Return the document below a path, places included."""
        depth = len(path)

        def below(marks: dict[Path_, Mark]) -> dict[Path_, Mark]:
            return {inner[depth:]: mark for inner, mark in marks.items() if inner[:depth] == path}

        return Document(self.get(path), self.mark(path).file, below(self.keys), below(self.values))

    def subtrees(self, depth: int) -> Callable[[Path_], Document]:
        """Return :meth:`subtree` for paths of one depth, with all places sorted by path once."""
        keys, values = (defaultdict[Path_, dict[Path_, Mark]](dict) for _ in range(2))
        for marks, sorted_ in ((self.keys, keys), (self.values, values)):
            for path, mark in marks.items():
                sorted_[path[:depth]][path[depth:]] = mark
        return lambda path: Document(self.get(path), self.mark(path).file, keys[path], values[path])

    def leaves(self) -> Iterator[tuple[Path_, object]]:
        """Yield every scalar with its path, in file order."""
        yield from _leaves((), self.data)

    def copy(self) -> Document:
        """Return a document that can be changed without changing this one."""
        return Document(_copy(self.data), self.file, dict(self.keys), dict(self.values))


def _copy(node: object) -> object:
    if isinstance(node, dict):
        return {key: _copy(value) for key, value in node.items()}
    return [_copy(value) for value in node] if isinstance(node, list) else node


def _leaves(path: Path_, node: object) -> Iterator[tuple[Path_, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves((*path, key), value)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves((*path, index), value)
    else:
        yield path, node


def while_unchanged(read: Callable[Concatenate[Path | str, P], R]) -> Callable[Concatenate[Path | str, P], R]:
    """Make a reader of files remember what it made of a file until that has another size or time of change.

    Sweeps ask for the same few files at every point. What the reader returns must not be changed.
    """

    @lru_cache(maxsize=256)
    def remembered(path: Path | str, version: tuple[int, int], *args: P.args, **kwargs: P.kwargs) -> R:
        del version
        return read(path, *args, **kwargs)

    @wraps(read)
    def read_if_changed(path: Path | str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            status = os.stat(path)
        except OSError:
            return read(path, *args, **kwargs)  # which says what is wrong
        foreign.record(path)
        return remembered(path, (status.st_mtime_ns, status.st_size), *args, **kwargs)  # type: ignore[arg-type] # hashable

    return read_if_changed


def check_schema(document: Document, expected: str) -> None:
    """Take the ``schema`` field out of a document.

    Raises:
        InputError: it is missing, or names another schema.
    """
    found = document.data.pop("schema", None)
    if found is None:
        raise document.error((), f"field 'schema' is missing, expected schema: {expected}")
    if found != expected:
        raise document.error(("schema",), f"found '{found}', expected '{expected}'")


def dotted(path: Path_) -> str:
    """Write a path as users do: ``devices.gpu.count``, ``blocks[0].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def load_yaml(path: Path | str) -> Document:
    """Read a YAML file.

    Raises:
        InputError: no such file, not UTF-8, not YAML, empty, not a mapping, or a construct that is refused.
    """
    path = Path(path)
    try:
        with foreign.open_file(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise InputError(f"has more than {_MOST_BYTES >> 20} MiB, expected a configuration", file=str(path))
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise InputError("no such file", file=str(path)) from None
    except IsADirectoryError:
        raise InputError("is a folder, expected a YAML file", file=str(path)) from None
    except PermissionError:
        raise InputError("may not be read (permission denied)", file=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", file=str(path)) from None
    except OSError as error:
        raise InputError(f"may not be read ({error.strerror})", file=str(path)) from None
    document = parse_yaml(text, str(path))
    if document.data is None:
        raise InputError("is empty, expected a YAML mapping", file=str(path))
    if not isinstance(document.data, dict):
        raise document.error((), f"found {_describe(document.data)}, expected a mapping of fields")
    _refuse_control_characters(document)
    return document


def _refuse_control_characters(document: Document) -> None:
    """Refuse text that would act on a terminal instead of being shown there."""
    for path, value in document.leaves():
        if any(printable(part) != part for part in path if isinstance(part, str)):
            raise document.error(path, "has control characters in a field name")
        if isinstance(value, str) and printable(value) != value:
            raise document.error(path, "holds control characters, expected text that can be shown")


def parse_yaml(text: str, file: str) -> Document:
    """Read YAML text; ``file`` names it in messages.

    Raises:
        InputError: the text is not YAML, or uses a construct that is refused.
    """
    for parser in (_FASTEST, _SPEAKING):
        try:
            return _read(text, file, parser)
        except yaml.YAMLError as error:
            refusal = _syntax_error(error, file)
    raise refusal


#: libyaml is quick and says little of what is wrong; PyYAML's own parser says more, and is there without it
_SPEAKING = yaml.SafeLoader
_FASTEST: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", _SPEAKING)


def _read(text: str, file: str, loader: type[yaml.SafeLoader]) -> Document:
    document = Document(None, file)
    events = yaml.parse(text, Loader=loader)
    next(events)  # the stream's start
    start = next(events)
    if isinstance(start, yaml.DocumentStartEvent):
        document.data = _Composer(events, document).node((), next(events), 0)
        next(events)  # the document's end
        another = next(events)
        if isinstance(another, yaml.DocumentStartEvent):
            mark = _mark(another, file)
            message = "is not valid YAML: found another document, expected one"
            raise InputError(message, file=file, line=mark.line, column=mark.column)
    return document


_TAG = "tag:yaml.org,2002:"
#: how plain scalars are read, YAML 1.2 core schema: what they may begin with, and how they look
_PLAIN = tuple(
    (kind, first, re.compile(pattern))
    for kind, first, pattern in (
        ("null", "~nN", r"~|null|Null|NULL"),
        ("bool", "tTfF", r"true|True|TRUE|false|False|FALSE"),
        ("int", "-+0123456789", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
        (
            "float",
            "-+0123456789.",
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        ),
    )
)


class _Composer:
    """Makes plain values of a parser's events, and writes down where each stands."""

    def __init__(self, events: Iterator[yaml.Event], document: Document) -> None:
        self._events, self._document = events, document

    def node(self, path: Path_, event: yaml.Event, depth: int) -> object:
        """Return the value that an event begins."""
        self._check(event, depth)
        self._document.values[path] = _mark(event, self._document.file)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(path, event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, event, depth)
        self._refuse_tag(event, "seq", path)
        items: list[object] = []
        while not isinstance(child := next(self._events), yaml.SequenceEndEvent):
            items.append(self.node((*path, len(items)), child, depth + 1))
        return items

    def _mapping(self, path: Path_, event: yaml.Event, depth: int) -> dict[str, object]:
        self._refuse_tag(event, "map", path)
        mapping: dict[str, object] = {}
        document = self._document
        while not isinstance(key_event := next(self._events), yaml.MappingEndEvent):
            self._check(key_event, depth + 1)
            if not isinstance(key_event, yaml.ScalarEvent):
                raise document.error(path, "has a list or mapping as a field name, expected text")
            self._refuse_tag(key_event, _kind(key_event), path)
            key = key_event.value
            inner, mark = (*path, key), _mark(key_event, document.file)
            if key in mapping:
                first = document.keys[inner].line
                document.keys[inner] = mark
                raise document.error(inner, f"stands twice (first in line {first})", at_key=True)
            document.keys[inner] = mark
            mapping[key] = self.node(inner, next(self._events), depth + 1)
        return mapping

    def _scalar(self, path: Path_, event: yaml.ScalarEvent) -> object:
        text, kind = event.value, _kind(event)
        self._refuse_tag(event, kind, path)
        match kind:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                if len(text) > _MAX_DIGITS:
                    raise self._document.error(path, f"is a whole number of more than {_MAX_DIGITS} digits")
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            case "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def _check(self, event: yaml.Event, depth: int) -> None:
        """Refuse aliases and bottomless nesting."""
        if isinstance(event, yaml.AliasEvent):
            self._refuse(f"found the alias '*{event.anchor}'; aliases are not accepted here", event)
        if depth > _MAX_DEPTH:
            self._refuse(f"found nesting deeper than {_MAX_DEPTH} levels", event)

    def _refuse(self, problem: str, event: yaml.Event) -> None:
        mark = _mark(event, self._document.file)
        raise InputError(f"is not valid YAML: {problem}", file=mark.file, line=mark.line, column=mark.column)

    def _refuse_tag(self, event: Any, kind: str, path: Path_) -> None:
        """Accept the tag that a node has by its form, and no other."""
        tag = event.tag
        if tag is None or (tag == "!" and kind in ("str", "seq", "map")):
            return
        if tag != _TAG + kind:
            shown = _TAG + "str" if tag == "!" else tag
            raise self._document.error(path, f"has the tag '{shown}'; tags are not accepted here")


class Inline(dict[str, str]):
    """A mapping to texts that :func:`dump` writes in one line, its texts in double quotes."""


def dump(data: Mapping[str, object]) -> str:
    """Write a mapping as the shipped files look: a field per line, lists in one line; the reverse of :func:`parse_yaml`.

    Scalars are plain where :func:`parse_yaml` reads them back as the same value, and quoted where it would not.
    """
    return yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf, default_flow_style=False
    )


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Return the patterns of plain scalars by their first character: those of :data:`_PLAIN`, then PyYAML's (YAML 1.1).

    Text that either of them takes for something else, such as ``1e3`` or ``no``, is quoted, so that both read it as text.
    """
    resolvers = {first: list(known) for first, known in yaml.SafeDumper.yaml_implicit_resolvers.items()}
    for kind, all_first, pattern in reversed(_PLAIN):
        for first in all_first:
            resolvers.setdefault(first, []).insert(0, (_TAG + kind, re.compile(f"(?:{pattern.pattern})$")))
    return resolvers


class _Dumper(yaml.SafeDumper):
    """PyYAML's writer with the scalars of :data:`_PLAIN`."""

    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: object) -> bool:
        """Write a value again rather than refer to it: aliases are not read."""
        return True


def _represent_float(dumper: _Dumper, value: float) -> yaml.ScalarNode:
    text = repr(value) if math.isfinite(value) else f"{'-' * (value < 0)}.{'nan' if math.isnan(value) else 'inf'}"
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # YAML 1.1 reads 1e+16 as text
    return dumper.represent_scalar(_TAG + "float", text)


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_TAG + "str", text, style=None if text.isprintable() else '"')


def _represent_inline(dumper: _Dumper, mapping: Inline) -> yaml.MappingNode:
    node = dumper.represent_mapping(_TAG + "map", mapping, flow_style=True)
    for _, text in node.value:
        text.style = '"'
    return node


_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, lambda dumper, items: dumper.represent_sequence(_TAG + "seq", items, flow_style=True))
_Dumper.add_representer(Inline, _represent_inline)


def _mark(event: Any, file: str) -> Mark:
    start = event.start_mark
    return Mark(file, start.line + 1, start.column + 1)


def _kind(event: yaml.ScalarEvent) -> str:
    """Return the kind that a scalar has by its form."""
    text = event.value
    if event.style:
        return "str"
    if not text:
        return "null"
    for kind, first, pattern in _PLAIN:
        if text[0] in first and pattern.fullmatch(text):
            return kind
    return "str"


def _syntax_error(error: yaml.YAMLError, file: str) -> InputError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return InputError(f"is not valid YAML: {problem}", file=file, line=line, column=column)


def _describe(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    return f"{value!r}"


def parse_path(text: str) -> Path_:
    """Read a dotted path such as ``devices.gpu.count`` or ``blocks[0].name``."""
    parts: list[str | int] = []
    for piece in re.findall(r"[^.\[\]]+|\[\d+\]", text):
        parts.append(int(piece[1:-1]) if piece.startswith("[") else piece)
    return tuple(parts)


def is_path(text: str) -> bool:
    """Whether text is a dotted path and nothing else."""
    path = parse_path(text)
    return bool(path) and dotted(path) == text


@dataclass(frozen=True)
class Assignment:
    """One field that is to be set.

    Attributes:
        path: the field.
        value: what it becomes.
        mark: where that was asked for.
        text: as ``--set`` would have it.
    """

    path: Path_
    value: Document
    mark: Mark
    text: str

    @classmethod
    def read(cls, text: str, option: str = "--set") -> Assignment:
        """Read text such as ``devices.gpu.count=8``.

        Raises:
            InputError: no ``=``, an empty path, or a value that is not YAML.
        """
        place = f"{option} {text}"
        name, equals, value = text.partition("=")
        path = parse_path(name.strip())
        if not equals or not is_path(name.strip()):
            raise InputError("expected PATH=VALUE, such as devices.gpu.count=8", file=place)
        return cls(path, parse_yaml(value, place), Mark(place), text)

    def error(self, message: str) -> InputError:
        """Make an error that points at where the assignment was asked for."""
        return InputError(message, file=self.mark.file, line=self.mark.line, column=self.mark.column)


#: an assignment, or the text of one
Override = str | Assignment


def as_assignment(override: Override) -> Assignment:
    """Return an override as an assignment; raises InputError as :meth:`Assignment.read` does."""
    return Assignment.read(override) if isinstance(override, str) else override


def apply_override(document: Document, override: Override, left_out: Iterable[str] = ()) -> None:
    """Set one field of a document, as text such as ``devices.gpu.count=8`` or an assignment asks.

    The parent must exist; whether the field itself does is checked when the document is parsed.

    Args:
        document: the document.
        override: the assignment.
        left_out: names of fields that the document leaves out, which a message may suggest.

    Raises:
        InputError: text that is no assignment, or a parent that is not there.
    """
    assignment = as_assignment(override)
    path = assignment.path
    _check_parent(document, assignment, left_out)
    if isinstance(path[-1], int) and path[-1] >= len(document.get(path[:-1])):
        raise assignment.error(f"the list ends at [{len(document.get(path[:-1])) - 1}]")
    document.replace(path, assignment.value.copy(), assignment.mark)


def _check_parent(document: Document, assignment: Assignment, left_out: Iterable[str]) -> None:
    node, path = document.data, assignment.path
    for depth, part in enumerate(path[:-1]):
        if isinstance(node, dict) and part not in node:
            hint = did_you_mean(str(part), {*node, *left_out})
            raise assignment.error(f"no field '{part}' in {dotted(path[:depth]) or 'the file'}; {hint}")
        if isinstance(node, list) and not (isinstance(part, int) and part < len(node)):
            raise assignment.error(f"no entry [{part}] in {dotted(path[:depth])}")
        node = node[part] if isinstance(node, dict) else node[int(part)] if isinstance(node, list) else node
        if not isinstance(node, (dict, list)):
            raise assignment.error(f"{dotted(path[: depth + 1])} is a single value; nothing can be set in it")
    last_is_index = isinstance(path[-1], int)
    if isinstance(node, list) != last_is_index:
        parent = dotted(path[:-1]) or "the file"
        raise assignment.error(f"{parent} {'is no list' if last_is_index else 'is a list'}")
