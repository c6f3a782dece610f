"""Read YAML safely and remember where everything stood.

PyYAML by itself reads ``no`` as False and ``312e12`` as text (YAML 1.1), lets the last of two equal keys win and
forgets line numbers. Here scalars follow the YAML 1.2 core schema, equal keys are refused, and every value keeps
its place for error messages. Only plain mappings, lists and scalars are accepted: no tags, so no Python objects,
and no aliases, so a small file cannot unfold into a huge one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import yaml

from papisim.errors import InputError, did_you_mean

Path_ = tuple[str | int, ...]
P = ParamSpec("P")
R = TypeVar("R")
_MAX_DEPTH = 40
_MAX_DIGITS = 300  # more do not fit a float


@dataclass(frozen=True)
class Mark:
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
        """Make an error that points at a path, or at its nearest parent that stands in the file."""
        mark = self.mark(path, at_key=at_key)
        return InputError(
            message, file=mark.file, line=mark.line, column=mark.column, field=dotted(path) if path else None
        )

    def mark(self, path: Path_, *, at_key: bool = False) -> Mark:
        """Return the place of a path, or of its nearest parent that stands in the file."""
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
        """Put another document in the place of what stands at a path; all of it was written at ``mark``.

        Without ``mark``, that is ``other.file``.
        """
        for marks in (self.keys, self.values):
            for inner in [p for p in marks if p[: len(path)] == path]:
                del marks[inner]
        self.graft(path, other)
        mark = mark or Mark(other.file)
        self.keys |= {path + inner: mark for inner in other.keys} | {path: mark}
        self.values |= {path + inner: mark for inner in other.values} | {path: mark}

    def subtree(self, path: Path_) -> Document:
        """Return the document below a path, places included."""
        depth = len(path)

        def below(marks: dict[Path_, Mark]) -> dict[Path_, Mark]:
            return {inner[depth:]: mark for inner, mark in marks.items() if inner[:depth] == path}

        return Document(self.get(path), self.mark(path).file, below(self.keys), below(self.values))

    def leaves(self) -> Iterator[tuple[Path_, Any]]:
        """Yield every scalar with its path, in file order."""
        yield from _leaves((), self.data)

    def copy(self) -> Document:
        """Return a document that can be changed without changing this one."""
        return Document(_copy(self.data), self.file, dict(self.keys), dict(self.values))


def _copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copy(value) for key, value in node.items()}
    return [_copy(value) for value in node] if isinstance(node, list) else node


def _leaves(path: Path_, node: Any) -> Iterator[tuple[Path_, Any]]:
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
        text = path.read_text(encoding="utf-8")
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
    return document


def parse_yaml(text: str, file: str) -> Document:
    """Read YAML text; ``file`` names it in messages.

    Raises:
        InputError: the text is not YAML, or uses a construct that is refused.
    """
    document = Document(None, file)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            document.data = _convert(loader, node, (), document)
    except yaml.YAMLError as error:
        raise _syntax_error(error, file) from None
    return document


class _Loader(yaml.SafeLoader):
    """A SafeLoader that resolves plain scalars as YAML 1.2 does and refuses aliases and bottomless nesting."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own registry, filled below
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.events.AliasEvent):
            self._refuse(f"found the alias '*{event.anchor}'; aliases are not accepted here", event)
        if self._depth > _MAX_DEPTH:
            self._refuse(f"found nesting deeper than {_MAX_DEPTH} levels", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, problem: str, event: Any) -> None:
        raise yaml.composer.ComposerError(None, None, problem, event.start_mark)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def _convert(loader: _Loader, node: yaml.Node, path: Path_, document: Document) -> Any:
    document.values[path] = _mark(node, document.file)
    if isinstance(node, yaml.MappingNode):
        return _convert_mapping(loader, node, path, document)
    if isinstance(node, yaml.SequenceNode):
        _refuse_tag(loader, node, path, document)
        return [_convert(loader, child, (*path, i), document) for i, child in enumerate(node.value)]
    _refuse_tag(loader, node, path, document)
    return _convert_scalar(node, path, document)


def _convert_mapping(loader: _Loader, node: yaml.MappingNode, path: Path_, document: Document) -> dict[str, Any]:
    _refuse_tag(loader, node, path, document)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise document.error(path, "has a list or mapping as a field name, expected text")
        _refuse_tag(loader, key_node, path, document)
        key = key_node.value
        inner = (*path, key)
        document_mark = _mark(key_node, document.file)
        if key in mapping:
            first = document.keys[inner].line
            document.keys[inner] = document_mark
            raise document.error(inner, f"stands twice (first in line {first})", at_key=True)
        document.keys[inner] = document_mark
        mapping[key] = _convert(loader, value_node, inner, document)
    return mapping


def _convert_scalar(node: yaml.Node, path: Path_, document: Document) -> Any:
    text = str(node.value)
    match node.tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            if len(text) > _MAX_DIGITS:
                raise document.error(path, f"is a whole number of more than {_MAX_DIGITS} digits")
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _refuse_tag(loader: _Loader, node: yaml.Node, path: Path_, document: Document) -> None:
    """Accept the tag that a node has by its form, and no other."""
    plain = isinstance(node, yaml.ScalarNode) and not node.style
    if node.tag != loader.resolve(type(node), node.value, (plain, not plain)):  # type: ignore[no-untyped-call]
        raise document.error(path, f"has the tag '{node.tag}'; tags are not accepted here")


def _mark(node: yaml.Node, file: str) -> Mark:
    return Mark(file, node.start_mark.line + 1, node.start_mark.column + 1)


def _syntax_error(error: yaml.YAMLError, file: str) -> InputError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return InputError(f"is not valid YAML: {problem}", file=file, line=line, column=column)


def _describe(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return f"{value!r}"


def parse_path(text: str) -> Path_:
    """Read a dotted path such as ``devices.gpu.count`` or ``blocks[0].name``."""
    parts: list[str | int] = []
    for piece in re.findall(r"[^.\[\]]+|\[\d+\]", text):
        parts.append(int(piece[1:-1]) if piece.startswith("[") else piece)
    return tuple(parts)


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
        if not equals or not path or dotted(path) != name.strip():
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


def apply_override(document: Document, override: Override) -> None:
    """Set one field of a document, as text such as ``devices.gpu.count=8`` or an assignment asks.

    The parent must be there; whether the field itself exists is for the specification to say.

    Raises:
        InputError: text that is no assignment, or a parent that is not there.
    """
    assignment = as_assignment(override)
    path = assignment.path
    _check_parent(document, assignment)
    if isinstance(path[-1], int) and path[-1] >= len(document.get(path[:-1])):
        raise assignment.error(f"the list ends at [{len(document.get(path[:-1])) - 1}]")
    document.replace(path, assignment.value.copy(), assignment.mark)


def _check_parent(document: Document, assignment: Assignment) -> None:
    node, path = document.data, assignment.path
    for depth, part in enumerate(path[:-1]):
        if isinstance(node, dict) and part not in node:
            hint = did_you_mean(str(part), node)
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
