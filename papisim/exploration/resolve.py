"""From the values of a point's axes to the options of a run, with the fields that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from papisim.config.experiment import RunOptions, options_of
from papisim.config.sections import SECTIONS, load_section
from papisim.config.system import open_system
from papisim.config.yaml import Assignment, Document, Path_, is_path, parse_path
from papisim.errors import InputError, did_you_mean
from papisim.exploration.expression import Expression, UnknownName
from papisim.exploration.file import SweepFile, beside
from papisim.exploration.grammar import OPTIONS
from papisim.exploration.space import Axis, Values, as_cell, in_si

#: sections of an experiment that a machine's file describes
_MACHINE = ("devices", "links", "roles", "placement")

#: the option that chooses each section
_CHOOSES = {option.section: name for name, option in OPTIONS.items() if option.section is not None}


@dataclass(frozen=True)
class Point:
    """One point of a space: its values and its run.

    Attributes:
        named: the values of axes, variables and derived fields, by name.
        options: the options of the run.
    """

    named: Values
    options: RunOptions


class Resolver:
    """Turns the values of axes into runs, for one file."""

    def __init__(self, file: SweepFile) -> None:
        self.file = file
        self._fixed = tuple(self._assignment(name, value) for name, value in file.fixed.items())

    @cached_property
    def _base(self) -> Values:
        return {name: getattr(self.file.base, name) for name in OPTIONS}

    def holds(self, axis: Axis, values: Values) -> bool:
        """Whether an axis belongs to a point, given the values of the axes before it."""
        return axis.when is None or self._true(axis.when, self._place(axis.names[0], "when"), values)

    def point(self, values: Values) -> Point:
        """Compute the derived fields of a point and put its run together.

        Raises:
            InputError: an expression has no value.
        """
        named = dict(values)
        for derived in self.file.derived:
            if derived.when is None or self._true(derived.when, self._place(derived.name, "when"), named):
                named[derived.name] = self._value(derived.value, self._place(derived.name, "value"), named)
        options = {name: beside(self.file, named.get(name, value)) for name, value in self._base.items()}
        paths = [name for name in named if name not in OPTIONS and name not in self.file.variables]
        assignments = (*self._fixed, *(self._assignment(name, named[name]) for name in paths))
        return Point(named, options_of(**options, set=assignments))

    def lookup(self, name: str, named: Mapping[str, object]) -> object:
        """Return the value of a name before anything is built: the point's, an option's, or that of a file's field.

        Raises:
            UnknownName: there is none of that name.
        """
        if name in named:
            return named[name]
        if name in self._base:
            return self._base[name]
        options = {**self._base, **{key: value for key, value in named.items() if key in OPTIONS}}
        parts = tuple(sorted((key, value) for key, value in named.items() if key.endswith(".part")))
        return _field(self._tree(name.partition(".")[0], options, parts), name)

    def _tree(self, head: str, options: Values, parts: tuple[tuple[str, object], ...]) -> object:
        """Return the fields of the file that a name's first word is in."""
        if head in _MACHINE:
            return self._machine(beside(self.file, options["hw"]), parts)
        if head in SECTIONS:
            choice = options[_CHOOSES[head]]
            chosen = beside(self.file, choice) if choice is not None else {"kind": "off"}
            own = [each for each in self._fixed if each.path[0] == head]
            return {head: load_section(head, chosen, own).options.model_dump()}
        return {}

    @lru_cache(maxsize=64)  # noqa: B019 - a resolver lives as long as its sweep
    def _machine(self, hw: str, parts: tuple[tuple[str, object], ...]) -> object:
        chosen = [self._assignment(name, value) for name, value in parts]
        own = [each for each in self._fixed if each.path[0] in _MACHINE]
        return open_system(hw, [*own, *chosen]).document.data

    def _true(self, condition: Expression, path: Path_, named: Values) -> bool:
        return bool(self._value(condition, path, named))

    def _value(self, expression: Expression, path: Path_, named: Values) -> object:
        try:
            return expression.evaluate(lambda name: self.lookup(name, named))
        except UnknownName as unknown:
            hint = did_you_mean(unknown.name, [*named, *self._base])
            raise self.file.document.error(tuple(path), f"no '{unknown.name}' here; {hint}") from None
        except InputError as error:
            raise self.file.document.error(tuple(path), error.message) from None

    def _place(self, name: str, inner: str) -> Path_:
        place = self.file.place(name)
        return (*place, inner) if (*place, inner) in self.file.document.keys else place

    def _assignment(self, name: str, value: object) -> Assignment:
        place = self.file.place(name)
        if not is_path(name):
            raise self.file.document.error(place, "expected a field such as devices.gpu.count", at_key=True)
        mark = self.file.document.mark(place, at_key=True)
        if name.endswith((".path", ".log", ".kind", ".format")):
            value = beside(self.file, value)
        document = Document(value, mark.file, {}, {(): mark})
        return Assignment(parse_path(name), document, mark, f"{name}={as_cell(value)}")


def _field(tree: Any, name: str) -> Any:
    """Return a field in SI; one that is no quantity, unchanged."""
    for part in parse_path(name):
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            raise UnknownName(name) from None
    try:
        return in_si(name, tree)
    except InputError:
        raise UnknownName(name) from None


def rehearsal(point: Point) -> Point:
    """Return the same run with a single request, to see quickly what names its figures have."""
    return replace(point, options=point.options.model_copy(update={"requests": 1, "batch": 1}))
