"""The base of every configuration value, and how a document becomes one."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from papisim import units
from papisim.catalog import Shelf
from papisim.config.yaml import Document, Path_, parse_path
from papisim.errors import InputError, did_you_mean, one_or_all

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
#: of requests, devices, tokens, heads: more is a slip of the keyboard, and would be simulated one by one
Count = Annotated[int, Field(ge=1, le=10**7)]
#: of parameters and other things that are only multiplied
LargeCount = Annotated[int, Field(ge=1)]
#: machines side by side
Replicas = Annotated[int, Field(ge=1, le=10**4)]
#: tokens that a request has in flight in an iteration
Width = Annotated[int, Field(ge=1, le=1024)]
Name = Annotated[str, Field(min_length=1)]


#: no quantity in SI is beyond these; arithmetic with numbers beyond them overflows or vanishes
_LEAST, _MOST = 1e-30, 1e30
_LARGEST_WHOLE = 2**63 - 1
_PLAIN_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def parts_of(model: type[BaseModel]) -> dict[str, BaseModel]:
    """Return the fields of a configuration value that are values of several fields, and may be left out, with their defaults."""
    defaults = {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}
    return {name: default for name, default in defaults.items() if isinstance(default, BaseModel)}


def open_parts(data: object, model: type[BaseModel], path: Path_) -> None:
    """Add the parts of a configuration value that a path leads into, as they are by default, where its data leave them out.

    Args:
        data: the data as read from a file.
        model: the class that they become.
        path: the path of a field that is to be set.
    """
    for part in path[:-1]:
        default = parts_of(model).get(str(part))
        if not isinstance(data, dict) or default is None:
            return
        data, model = data.setdefault(str(part), default.model_dump(mode="json")), type(default)


class FieldError(ValueError):
    """One field of a configuration value contradicts others; ``field`` is its path below the value, which the message points at."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Spec(BaseModel):
    """A frozen configuration value.

    Unknown fields are errors. A field whose name ends in a unit (see :data:`papisim.units.UNITS`) takes a number in SI
    or a text with a unit of that dimension.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=False)

    @field_validator("*", mode="before")
    @classmethod
    def _read_quantity(cls, value: Any, info: ValidationInfo) -> object:
        unit = units.unit_of(info.field_name or "")
        if isinstance(value, bool) and _annotation(cls, info.field_name) is not bool:
            raise ValueError(f"found {str(value).lower()}, expected {_expected(cls, info.field_name)}")
        if isinstance(value, str) and unit is None and _annotation(cls, info.field_name) in (int, float):
            if not _PLAIN_NUMBER.fullmatch(value):  # Python would also take 1_000, and digits of other scripts
                raise ValueError(f"found '{value}', expected {_expected(cls, info.field_name)}")
            value = float(value) if _annotation(cls, info.field_name) is float else value
        if unit is None or value is None or isinstance(value, (dict, list)):
            # a mapping that a class of its own reads is checked there, number by number
            if not isinstance(value, dict) or typing.get_origin(_annotation(cls, info.field_name)) is dict:
                _check_size(value)
            return value
        try:
            value = units.parse(value, unit)
        except InputError as error:
            raise ValueError(error.message) from None
        _check_size(value)
        return value


def _check_size(value: object) -> None:
    """Refuse numbers, those in lists and tables too, that are not finite or that no arithmetic can bear.

    Raises:
        ValueError: with what was found and expected.
    """
    match value:
        case bool():
            return
        case int() if abs(value) > _LARGEST_WHOLE:
            value = min(max(value, -(10**300)), 10**300)
            raise ValueError(f"found {value:.3g}, expected a whole number of at most {_LARGEST_WHOLE}")
        case float() if not math.isfinite(value):
            raise ValueError(f"found {value}, expected a finite number")
        case float() if value and not _LEAST <= abs(value) <= _MOST:
            raise ValueError(f"found {value:g}, expected a number between {_LEAST:g} and {_MOST:g}")
        case list():
            for inner in value:
                _check_size(inner)
        case dict():
            for inner in value.values():
                if not isinstance(inner, dict):
                    _check_size(inner)


class KindOptions(Spec):
    """Options of a kind: of a policy, a device, a draft source.

    Attributes:
        kind: name of the kind, or reference to it (see :mod:`papisim.kinds`).
        tuner: of kinds with values that belong to a machine and a model: the function, ``module:name``, that turns an experiment
            into one with the right values (see :mod:`papisim.config.tuning`).
        named_files: fields that may name a file of their own, and the shelf that it is on; the file's fields take the place of its name.
        derives: fields that follow from the others where a file leaves them out; a file that extends another does not inherit them.
    """

    tuner: ClassVar[str | None] = None
    named_files: ClassVar[Mapping[str, Shelf]] = {}
    derives: ClassVar[tuple[str, ...]] = ()

    kind: str

    @property
    def awaits_tuning(self) -> bool:
        """Whether a value is missing that only a machine and a model can give."""
        return False

    def settled(self) -> tuple[Self, tuple[str, ...]]:
        """Return the options with what only files that they name can tell, and notes on those files."""
        return self, ()


SpecT = TypeVar("SpecT", bound=BaseModel)


def parse(spec: type[SpecT], document: Document) -> SpecT:
    """Turn a document into a configuration value.

    Raises:
        InputError, InputErrors: everything that is wrong, each with file, line, column and field.
    """
    try:
        return spec.model_validate(document.data)
    except ValidationError as error:
        raise one_or_all([_translate(spec, document, detail) for detail in error.errors()]) from None


def _translate(spec: type[BaseModel], document: Document, detail: ErrorDetails) -> InputError:
    path = _path_in(document.data, detail["loc"])
    if isinstance(cause := detail.get("ctx", {}).get("error"), FieldError):
        path = (*path, *parse_path(cause.field))
    kind, found = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        known = _fields_at(spec, detail["loc"][:-1])
        return document.error(path, f"unknown field; {did_you_mean(str(path[-1]), known)}", at_key=True)
    if kind == "missing":
        parent, name = path[:-1], path[-1]
        return document.error(parent, f"field '{name}' is missing")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _translate_kind(document, path, detail.get("ctx", {}))
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if message.startswith("found ") or kind in ("value_error", "assertion_error"):
        return document.error(path, message)
    return document.error(path, f"found {shown(found)}, expected {_wanted(message)}")


def _translate_kind(document: Document, path: Path_, context: dict[str, str]) -> InputError:
    """Explain a ``kind`` that is missing or names none of the alternatives."""
    found = context.get("tag")
    if found is None:
        return document.error(path, "field 'kind' is missing")
    known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
    return document.error((*path, "kind"), f"found '{found}', {did_you_mean(found, known)}")


def _path_in(data: Any, location: tuple[str | int, ...]) -> Path_:
    """Keep the parts of a pydantic location that are steps in the data (it adds tags for unions)."""
    path: list[str | int] = []
    node = data
    for depth, part in enumerate(location):
        last = depth == len(location) - 1
        inside = (isinstance(node, dict) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        )
        if inside:
            node = node[part]
        if inside or (last and isinstance(node, dict)):
            path.append(part)
    return tuple(path)


def _fields_at(spec: object, location: tuple[str | int, ...]) -> list[str]:
    """Return the field names that a specification knows at a location."""
    current = plain_type(spec)
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            known = current.model_fields.get(str(part))
            if known is None:
                return []
            current = plain_type(known.annotation)
        elif typing.get_origin(current) in (dict, list, tuple):
            current = plain_type(typing.get_args(current)[-1])
    if isinstance(current, type) and issubclass(current, BaseModel):
        return list(current.model_fields)
    return []


def plain_type(annotation: object) -> object:
    """Drop ``Annotated`` and ``| None`` around a type."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (typing.Union, types.UnionType):
            inner = [a for a in typing.get_args(annotation) if a is not type(None)]
            if len(inner) != 1:
                return annotation
            annotation = inner[0]
        else:
            return annotation


def _annotation(cls: type[BaseModel], name: str | None) -> object:
    return plain_type(cls.model_fields[name].annotation) if name in cls.model_fields else None


def _expected(cls: type[BaseModel], name: str | None) -> str:
    annotation = _annotation(cls, name)
    if typing.get_origin(annotation) is Literal:
        return " or ".join(f"'{choice}'" for choice in typing.get_args(annotation))
    wanted: dict[object, str] = {int: "a whole number", float: "a number", str: "text"}
    return wanted.get(annotation, "another kind of value")


_WORDING = {
    "Input should be a valid integer, unable to parse string as an integer": "a whole number",
    "Input should be a valid integer, got a number with a fractional part": "a whole number",
    "Input should be a valid integer": "a whole number",
    "Input should be a valid number, unable to parse string as a number": "a number",
    "Input should be a valid number": "a number",
    "Input should be a valid string": "text",
    "Input should be a valid boolean": "true or false",
    "Input should be a valid boolean, unable to interpret input": "true or false",
    "Input should be a valid dictionary": "a mapping",
    "Input should be a valid list": "a list",
}


def _wanted(message: str) -> str:
    if message in _WORDING:
        return _WORDING[message]
    if "dictionary or instance" in message or "dictionary or object" in message:
        return "a mapping"
    return message.removeprefix("Input should be ").removeprefix("a valid ")


def shown(value: object) -> str:
    """Write a value as messages do."""
    match value:
        case str():
            return f"'{value}'"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
    return str(value)
