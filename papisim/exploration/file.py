"""The file of a sweep or an optimisation, read and checked; ``docs/sweep.md`` has its grammar by example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from papisim import catalog, foreign
from papisim.config.base import parse
from papisim.config.experiment import RunOptions
from papisim.config.sections import load_section
from papisim.config.yaml import (
    Document,
    Mark,
    Path_,
    as_assignment,
    check_schema,
    dotted,
    dump,
    load_yaml,
    parse_yaml,
)
from papisim.errors import InputError, InputErrors, did_you_mean, one_or_all
from papisim.exploration.expression import Expression
from papisim.exploration.grammar import (
    OPTIONS,
    AxisFields,
    ConstraintFields,
    DerivedFields,
    SearchFields,
    Sections,
)
from papisim.exploration.space import (
    Axis,
    Choices,
    Interval,
    Sampling,
    as_cell,
    in_si,
    is_number,
    multiplied,
    spread,
    stepped,
)
from papisim.kinds import outside

SCHEMA = "papisim/sweep/1"

_KINDS = ("area", "power", "capacity", "slo")
T = TypeVar("T")


@dataclass(frozen=True)
class Derived:
    """A field that follows from others."""

    name: str
    value: Expression
    when: Expression | None


@dataclass(frozen=True)
class Constraint:
    """A condition of feasible points."""

    name: str
    kind: str
    require: Expression


@dataclass(frozen=True)
class Objective:
    """An objective: ``value`` as large, or as small, as possible."""

    name: str
    value: Expression
    maximise: bool


@dataclass(frozen=True)
class Search:
    """Objectives and settings of a search; see :class:`SearchFields`."""

    objectives: tuple[Objective, ...]
    settings: SearchFields


@dataclass(frozen=True)
class SweepFile:
    """Everything that a file of a sweep declares.

    Attributes:
        document: the file, for the places of its values.
        text: its content.
        home: the folder it is in, where files that it names are sought first.
        base: options that all points share.
        variables: names that are neither options nor fields.
        axes: the axes; variables first.
        derived: fields computed from others, in the file's order.
        constraints: conditions of feasible points.
        columns: computed columns of the frame, objectives included.
        sampling: drawing of points; None to take all.
        search: objectives and sampler; None without objectives.
        uncertainty: whether figures have intervals.
    """

    document: Document
    text: str
    home: Path
    description: str
    base: RunOptions
    variables: frozenset[str]
    axes: tuple[Axis, ...]
    derived: tuple[Derived, ...]
    constraints: tuple[Constraint, ...]
    columns: dict[str, Expression]
    sampling: Sampling | None
    search: Search | None
    uncertainty: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to other processes as text: they read it as this one did."""
        return read_sweep, (self.text, self.document.file, self.home)

    @property
    def fixed(self) -> dict[str, object]:
        """The fields in ``set``, the same at all points."""
        fixed = self.document.data["base"].get("set") or {}
        if not isinstance(fixed, dict):
            raise self.document.error(("base", "set"), "found no mapping, expected one from fields to values")
        return dict(fixed)

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return Path(self.document.file).stem

    def place(self, name: str) -> Path_:
        """Return the path in the file at which an axis, a derived field or a fixed one is declared."""
        for path in (("space", name), ("variables", name), ("derive", name), ("base", "set", name), ("base", name)):
            if path in self.document.keys:
                return path
        zipped = (("zip", index, name) for index in range(len(self.document.data.get("zip", []))))
        return next((path for path in zipped if path in self.document.keys), ())

    def axis_names(self) -> list[str]:
        """Return the names of the axes, in order."""
        return [name for axis in self.axes for name in axis.names]

    def inputs(self) -> list[str]:
        """Return the names that have values at a point: axes, then derived fields."""
        return [*self.axis_names(), *(each.name for each in self.derived)]


def load_sweep(path: Path | str) -> SweepFile:
    """Read a file of a sweep.

    Raises:
        InputError, InputErrors: everything that is wrong with it, with places.
    """
    document = load_yaml(path)
    return _sweep_of(document, foreign.read_text(Path(path)), Path(path).absolute().parent)


def read_sweep(text: str, file: str, home: Path) -> SweepFile:
    """Read the text of a file of a sweep; raises as :func:`load_sweep` does."""
    return _sweep_of(parse_yaml(text, file), text, home)


def with_options(
    options: Mapping[str, Sequence[object]],
    assignments: Sequence[str],
    path: Path | None,
    together: Sequence[Mapping[str, Sequence[object]]] = (),
    *,
    uncertainty: bool = False,
) -> SweepFile:
    """Return the space that options of a run make, each of which has one value or several.

    Args:
        options: values by option. Several values are an axis; one is shared by all points.
        assignments: ``PATH=VALUE``, shared by all points.
        path: a file whose base and space they replace, option by option; None for a space of the options alone.
        together: groups of options whose values vary together.
        uncertainty: whether figures have intervals, also where the file does not ask for them.

    Raises:
        InputError, InputErrors: everything that is wrong with the file or an option.
    """
    if path is None:
        names = [name for each in (options, *together) for name, values in each.items() if len(values) > 1]
        content = {"schema": SCHEMA, "description": f"Grid of {', '.join(names) or 'one point'}"}
        document, home = Document(content, "options"), Path.cwd()
    else:
        document, home = load_yaml(path), path.absolute().parent
    for section in ("base", "space"):
        if document.data.setdefault(section, {}) is None:
            document.data[section] = {}
    for group in together:
        document.data["zip"] = [
            *(document.data.get("zip") or []),
            {name: list(values) for name, values in group.items()},
        ]
    for name, values in options.items():
        _put(document, name, values)
    for each in map(as_assignment, assignments):
        document.data["base"].setdefault("set", {})[dotted(each.path)] = each.value.data
        document.keys["base", "set", dotted(each.path)] = each.mark
    if uncertainty:
        document.data["uncertainty"] = True
    return _sweep_of(document, dump(document.data), home)


def _put(document: Document, name: str, values: Sequence[object]) -> None:
    """Replace the values of an option, where they are an axis and where they are shared."""
    document.data["base"].pop(name, None)
    document.data["space"].pop(name, None)
    path = ("base", name) if len(values) == 1 else ("space", name)
    given = values[0] if len(values) == 1 else list(values)
    document.replace(path, Document(given, f"--{name}", {}, {}))


def _fill_base(document: Document) -> None:
    """Give the base a machine and a model where they are axes alone; every point has its own."""
    base = document.data.get("base")
    for name, field in RunOptions.model_fields.items():
        if not field.is_required() or not isinstance(base, dict) or name in base:
            continue
        for section in (document.data.get("space"), *(document.data.get("zip") or ())):
            values = section.get(name) if isinstance(section, dict) else None
            values = values.get("values") if isinstance(values, dict) else values
            if isinstance(values, list) and values:
                base[name] = values[0]


def _sweep_of(document: Document, text: str, home: Path) -> SweepFile:
    check_schema(document, SCHEMA)
    if isinstance(document.data, dict):
        _fill_base(document)
    sections = parse(Sections, document)
    reader = _Reader(document)
    variables = frozenset(sections.variables)
    axes = [reader.try_(reader.axis, ("variables",), name) for name in sections.variables]
    axes += [reader.try_(reader.axis, ("space",), name) for name in sections.space]
    axes += [reader.try_(reader.zipped, index, group) for index, group in enumerate(sections.zip)]
    derived = [reader.try_(reader.derived, name) for name in sections.derive]
    constraints = [reader.try_(reader.constraint, name) for name in sections.constraints]
    columns = {name: reader.try_(reader.expression, ("columns", name)) for name in sections.columns}
    search = reader.search(sections.optimise) if sections.optimise else None
    reader.check_names(sections, variables)
    if reader.errors:
        raise one_or_all(reader.errors)
    found = SweepFile(
        document,
        text,
        home,
        sections.description,
        sections.base,
        variables,
        tuple(axis for axis in axes if axis),
        tuple(each for each in derived if each),
        tuple(each for each in constraints if each),
        {name: expression for name, expression in columns.items() if expression} | _goals(search),
        Sampling(**sections.sample.model_dump()) if sections.sample else None,
        search,
        sections.uncertainty,
    )
    check_options(found)
    return found


def _repeated(values: Sequence[object]) -> int | None:
    """Return the place of the first value that is equal to one before it; None if there is none."""
    return next((index for index, value in enumerate(values) if values.index(value) < index), None)


def _goals(search: Search | None) -> dict[str, Expression]:
    """Return objectives as columns, so that a sweep's frame has them too."""
    return {objective.name: objective.value for objective in search.objectives} if search else {}


class _Reader:
    """Reads the sections, and collects what is wrong."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.errors: list[InputError] = []

    def try_(self, read: Callable[..., T], *arguments: object) -> T | None:
        """Return the result of a reader; None after errors, which are kept."""
        try:
            return read(*arguments)
        except InputErrors as several:
            self.errors += several.errors
        except InputError as error:
            self.errors.append(error)
        return None

    def axis(self, section: Path_, name: str) -> Axis:
        """Read an axis of one name."""
        path = (*section, name)
        data = self._document.get(path)
        if not isinstance(data, dict):
            return Axis((name,), Choices(tuple((value,) for value in self._values(path, name, data))))
        fields = parse(AxisFields, self._document.subtree(path))
        when = None if fields.when is None else self.expression((*path, "when"))
        given = [kind for kind in ("values", "range", "log_range") if getattr(fields, kind) is not None]
        if len(given) != 1:
            raise self._document.error(path, "expected one of 'values', 'range' and 'log_range'")
        if fields.values is not None:
            values = self._values((*path, "values"), name, fields.values)
            return Axis((name,), Choices(tuple((value,) for value in values)), when)
        return Axis((name,), self._range(path, name, fields, given[0]), when)

    def _values(self, path: Path_, name: str, data: object) -> list[object]:
        if not isinstance(data, list) or not data:
            raise self._document.error(path, f"found {_shown(data)}, expected a list of values, or a mapping")
        values = [self._in_si((*path, index), name, value) for index, value in enumerate(data)]
        if path[0] != "zip":  # axes that vary together may each have a value again
            index = _repeated([as_cell(value) for value in values])
            if index is not None:
                raise self._document.error(
                    (*path, index), f"found {as_cell(values[index])!r}, which is in this list already"
                )
        return values

    def _in_si(self, path: Path_, name: str, value: object) -> object:
        try:
            return in_si(name, value)
        except InputError as error:
            raise self._document.error(path, error.message) from None

    def _number(self, path: Path_, name: str, value: object) -> float:
        number = self._in_si(path, name, value)
        if not is_number(number):
            raise self._document.error(path, f"found {_shown(value)}, expected a number")
        return float(number) if isinstance(number, float) else number

    def _range(self, path: Path_, name: str, fields: AxisFields, kind: str) -> Choices | Interval:
        ends = getattr(fields, kind)
        inner, log = (*path, kind), kind == "log_range"
        if len(ends) != 2:  # noqa: PLR2004
            raise self._document.error(inner, "expected [from, to]")
        low, high = (self._number((*inner, index), name, value) for index, value in enumerate(ends))
        if not low < high or (log and low <= 0):
            wanted = "two positive numbers, the smaller first" if log else "the smaller number first"
            raise self._document.error(inner, f"found [{low:g}, {high:g}], expected {wanted}")
        whole = isinstance(low, int) and isinstance(high, int)
        width = self._width(path, name, fields, log=log)
        if width is None and fields.n is None:
            return Interval(low, high, log, whole)
        if width is not None:
            try:
                numbers = multiplied(low, high, width) if log else stepped(low, high, width)
            except InputError as error:
                raise self._document.error(path, error.message) from None
            whole = whole and (log or isinstance(width, int))
        else:
            numbers = spread(low, high, int(fields.n or 1), log=log, whole=whole)
        rounded = dict.fromkeys(round(number) for number in numbers) if whole else numbers
        return Choices(tuple((number,) for number in rounded))

    def _width(self, path: Path_, name: str, fields: AxisFields, *, log: bool) -> float | None:
        """Return the step of a range or the factor of one of logarithms, if given."""
        wrong = "step" if log else "factor"
        if getattr(fields, wrong) is not None:
            raise self._document.error((*path, wrong), f"has no meaning here; a {'log_' if log else ''}range takes "
                                       f"'n' or '{'factor' if log else 'step'}'")  # fmt: skip
        width = fields.factor if log else fields.step
        if width is None:
            return None
        if fields.n is not None:
            raise self._document.error((*path, "n"), "is given beside a step or factor, expected one of them")
        number = float(width) if log else self._number((*path, "step"), name, self._document.get((*path, "step")))
        if number <= 0:
            raise self._document.error((*path, "step"), f"found {number:g}, expected more than 0")
        return number

    def zipped(self, index: int, group: dict[str, object]) -> Axis:
        """Read axes that vary together."""
        section = ("zip", index)
        axes = [self.axis(section, name) for name in group]
        if not axes:
            raise self._document.error(section, "is empty, expected axes that vary together")
        columns = []
        for axis in axes:
            if not isinstance(axis.domain, Choices) or axis.when is not None:
                raise self._document.error((*section, axis.title), "expected values, without 'when'")
            columns.append([value for (value,) in axis.domain.values])
            if len(columns[-1]) != len(columns[0]):
                raise self._document.error(
                    (*section, axis.title),
                    f"has {len(columns[-1])} values, expected {len(columns[0])} as {axes[0].title} has",
                )
        values = tuple(zip(*columns, strict=True))
        again = _repeated([tuple(map(as_cell, each)) for each in values])
        if again is not None:
            raise self._document.error(
                (*section, axes[0].title, again), "its values are together in this group already"
            )
        return Axis(tuple(group), Choices(values))

    def derived(self, name: str) -> Derived:
        """Read a field that follows from others."""
        path = ("derive", name)
        if not isinstance(self._document.get(path), dict):
            return Derived(name, self.expression(path), None)
        fields = parse(DerivedFields, self._document.subtree(path))
        when = None if fields.when is None else self.expression((*path, "when"))
        return Derived(name, self.expression((*path, "value")), when)

    def constraint(self, name: str) -> Constraint:
        """Read what must hold; the short form is the condition alone, of the kind that its name says."""
        path = ("constraints", name)
        if not isinstance(self._document.get(path), dict):
            return Constraint(name, name if name in _KINDS else "other", self.expression(path))
        fields = parse(ConstraintFields, self._document.subtree(path))
        return Constraint(name, fields.kind, self.expression((*path, "require")))

    def search(self, fields: SearchFields) -> Search:
        """Read what to optimise."""
        objectives = []
        for name, objective in fields.objectives.items():
            path = ("optimise", "objectives", name)
            given = [way for way in ("maximise", "minimise") if getattr(objective, way) is not None]
            if len(given) != 1:
                self.errors.append(self._document.error(path, "expected one of 'maximise' and 'minimise'"))
                continue
            value = self.try_(self.expression, (*path, given[0]))
            if value is not None:
                objectives.append(Objective(name, value, given[0] == "maximise"))
        if not fields.objectives:
            self.errors.append(self._document.error(("optimise", "objectives"), "is empty, expected at least one"))
        return Search(tuple(objectives), fields)

    def expression(self, path: Path_) -> Expression:
        """Read an expression."""
        try:
            return Expression.read(self._document.get(path))
        except InputError as error:
            raise self._document.error(path, error.message) from None

    def check_names(self, sections: Sections, variables: frozenset[str]) -> None:
        """Refuse names that are neither an option nor the path of a field, and those that are given twice."""
        declared: list[tuple[Path_, str]] = [(("space", name), name) for name in sections.space]
        declared += [(("zip", i, name), name) for i, group in enumerate(sections.zip) for name in group]
        declared += [(("derive", name), name) for name in sections.derive]
        seen: set[str] = set()
        for path, name in declared:
            if name not in OPTIONS and "." not in name:
                hint = did_you_mean(name, OPTIONS)
                message = f"is neither an option of a run, {hint} nor the path of a field such as devices.gpu.count"
                self.errors.append(self._document.error(path, message, at_key=True))
            if name in seen:
                self.errors.append(self._document.error(path, "is given values twice", at_key=True))
            seen.add(name)
        for name in variables:
            if not name.isidentifier() or name in OPTIONS:
                message = "is no free name, expected a word that is no option of a run"
                self.errors.append(self._document.error(("variables", name), message, at_key=True))


def _shown(value: object) -> str:
    return "nothing" if value is None else "a mapping" if isinstance(value, dict) else repr(value)


def check_options(found: SweepFile) -> None:
    """Check every value of every option: its type, and that what it names is there.

    Raises:
        InputError, InputErrors: each value that is wrong, with its place.
    """
    errors: list[InputError] = []
    for path, name, value in _option_values(found):
        try:
            _check_option(found, path, name, value)
        except InputErrors as several:
            errors += several.errors
        except InputError as error:
            errors.append(error)
    if errors:
        raise one_or_all(errors)


def _option_values(found: SweepFile) -> Iterator[tuple[Path_, str, object]]:
    """Yield each value of an option with its place."""
    yield from (
        (("base", name), name, getattr(found.base, name)) for name in OPTIONS if name in found.base.model_fields_set
    )
    for axis in found.axes:
        if not isinstance(axis.domain, Choices):
            continue
        for position, name in enumerate(axis.names):
            path = found.place(name)
            listed = (*path, "values") if (*path, "values") in found.document.keys else path
            if name in OPTIONS:
                for index, values in enumerate(axis.domain.values):
                    yield (*listed, index), name, values[position]


def _check_option(found: SweepFile, path: Path_, name: str, value: object) -> None:
    mark = found.document.mark(path)
    fixed = {"hw": "papi", "trace": "llama7b"}  # to have what is required; not looked at
    document = Document({**fixed, name: value}, mark.file, {}, {(): Mark(mark.file), (name,): mark})
    parse(RunOptions, document)
    try:
        option = OPTIONS[name]
        if option.shelf is not None:
            catalog.find(option.shelf, beside(found, value))
        elif option.section is not None and value is not None:
            load_section(option.section, beside(found, value))
    except InputError as error:
        raise error if error.place.file else found.document.error(path, error.message) from None


def beside(found: SweepFile, value: object) -> Any:
    """Return a path to what stands beside the file of the sweep as an absolute one, code included; anything else as it is."""
    if isinstance(value, str) and outside.is_reference(value):
        return outside.absolute(value, found.home)
    if isinstance(value, dict) and isinstance(value.get("kind"), str):
        return {**value, "kind": outside.absolute(value["kind"], found.home)}
    if isinstance(value, str) and (Path(value).suffix or "/" in value) and (found.home / value).exists():
        return str(found.home / value)
    return value
