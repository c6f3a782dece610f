"""How an option of a run is declared: once, for the command line, for Python and for files of sweeps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import Annotated, Any, ParamSpec, TypeVar

from pydantic import BeforeValidator, PlainValidator
from pydantic.fields import FieldInfo

from papisim.catalog import Shelf
from papisim.config.base import KindOptions, Name, shown
from papisim.errors import FormerName, did_you_mean
from papisim.kinds import outside

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """The description of an option, besides its name, type and default.

    Attributes:
        help: one sentence for users.
        metavar: the form of the value on the command line; from the type, if None.
        default: the meaning of the default None, in words.
        section: the section of an experiment that the option chooses a file or a kind for.
        shelf: the shelf of the shipped files that the option names, where no section has it.
    """

    help: str
    metavar: str | None = None
    default: str | None = None
    section: str | None = None
    shelf: Shelf | None = None

    @classmethod
    def of(cls, field: FieldInfo) -> Option:
        """Return the description of a field.

        Raises:
            TypeError: the field has none.
        """
        for each in field.metadata:
            if isinstance(each, cls):
                return each
        raise TypeError(f"a field {field!r} of options has no description")


def _read_named(value: object) -> object:
    return outside.reference_to(value) if isinstance(value, type) else value


def _read_choice(value: object) -> object:
    value = _read_named(value)
    if isinstance(value, KindOptions) or (isinstance(value, str) and value):
        return value
    if isinstance(value, Mapping):
        if "kind" not in value:
            raise ValueError("field 'kind' is missing")
        return dict(value)
    raise ValueError(f"found {shown(value)}, expected a name, a file, or a mapping with a 'kind'")


#: a kind by its name, by a reference to code from outside, or, in Python, as the class itself
Named = Annotated[Name, BeforeValidator(_read_named)]
#: a section of an experiment: a shipped name, a file, a kind as :data:`Named`, or the options themselves
Choice = Annotated[str | Mapping[str, Any] | KindOptions, PlainValidator(_read_choice)]


def present_names(values: Mapping[str, T], renamed: Mapping[str, str], *, stacklevel: int = 2) -> dict[str, T]:
    """Return values under the present names of their options.

    Args:
        values: by present or former name.
        renamed: former names, and the present name of each.
        stacklevel: as in :func:`warnings.warn`; 2 is the caller.

    Warns:
        FormerName: for each former name.
    """
    for former in values.keys() & renamed.keys():
        message = f"'{former}' is now called '{renamed[former]}'; the former name is refused from 0.4.0 on"
        warnings.warn(message, FormerName, stacklevel=stacklevel)
    return {renamed.get(name, name): value for name, value in values.items()}


def accepts_former_names(renamed: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function accept keywords by their former names, as :func:`present_names` does.

    Unknown keywords are a TypeError that names the nearest keyword.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = signature(function).parameters

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            present = present_names(kwargs, renamed, stacklevel=3)
            for name in present.keys() - known.keys():
                raise TypeError(f"{function.__name__}() has no parameter '{name}'; {did_you_mean(name, known)}")
            return function(*args, **present)  # type: ignore[arg-type] # P cannot say it

        return call

    return decorate
