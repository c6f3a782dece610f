"""Every exception that papisim raises on purpose, in one tree.

::

    PapisimError
    ├── InputError          one thing is wrong with what the user gave          exit status 2
    ├── InputErrors         several such things, reported together               exit status 2
    ├── DoesNotFit          valid on paper, impossible in this machine           exit status 2
    ├── MissingExtra        an optional dependency is not installed              exit status 2
    ├── NotModelled         a thing papisim knows about and does not simulate    exit status 2
    └── CheckFailed         a check the user asked for did not pass              exit status 1
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class PapisimError(Exception):
    """Base of every error that papisim raises on purpose."""

    exit_status = 2

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes whatever arguments the constructor takes."""
        return _remake, (type(self), self.args, self.__dict__)


def _remake(kind: type[PapisimError], args: tuple[object, ...], state: dict[str, object]) -> PapisimError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


@dataclass(frozen=True)
class Place:
    """Where in the user's input a problem stands; every part may be unknown.

    ``line`` and ``column`` count from 1, as editors do.
    """

    file: str | None = None
    line: int | None = None
    column: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        position = [str(part) for part in (self.file, self.line, self.column) if part is not None]
        parts = (":".join(position), self.field)
        return printable(shortened(": ".join(part for part in parts if part), _LONGEST_PLACE))


class InputError(PapisimError):
    """One thing is wrong with what the user gave."""

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        field: str | None = None,
    ) -> None:
        self.message = message = shortened(printable(message))
        self.place = Place(file, line, column, field)
        super().__init__(message)

    def __str__(self) -> str:
        place = str(self.place)
        return f"{place}: {self.message}" if place else self.message


class InputErrors(PapisimError):
    """Several things are wrong; all are reported at once, one a line."""

    def __init__(self, errors: Sequence[InputError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in errors))


class DoesNotFit(PapisimError):
    """A configuration that is valid on paper but impossible in the machine.

    Args:
        statement: what does not fit into what.
        demand: what is asked for, in ``unit``.
        bound: what there is, in ``unit``.
        unit: the unit of both, as a reader writes it.
        levers: what the user could change, most useful first.
    """

    def __init__(self, statement: str, demand: float, bound: float, unit: str, levers: Sequence[str]) -> None:
        self.statement, self.demand, self.bound, self.unit = statement, demand, bound, unit
        self.levers = tuple(levers)
        super().__init__(statement, demand, bound, unit, levers)  # SimPy remakes exceptions from their arguments

    def __str__(self) -> str:
        text = f"{self.statement}: {_four_digits(self.demand)} {self.unit} needed, {_four_digits(self.bound)} {self.unit} there"
        return f"{text}; try: {'; '.join(self.levers)}" if self.levers else text


def _four_digits(value: float) -> str:
    """Write a number with four significant digits or all before the point, never with an exponent."""
    decimals = max(0, 4 - len(str(int(abs(value)))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


class MissingExtra(PapisimError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}, which is not installed; pip install 'papisim[{extra}]'")


class NotModelled(PapisimError):
    """papisim knows of the thing and does not simulate it; it never guesses instead."""


class CheckFailed(PapisimError):
    """A check that the user asked for did not pass."""

    exit_status = 1


_LONGEST_PLACE = 240  # characters of a file with its line and a field: with the message, fewer than a thousand
#: longer messages are cut in the middle: they quote what was found, whatever its length
_LONGEST = 700


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return a text with its middle replaced by an ellipsis where it has more than ``longest`` characters."""
    head, tail = longest * 2 // 3, longest // 3 - 1
    return text if len(text) <= longest else f"{text[:head]}…{text[-tail:]}"


def printable(text: str) -> str:
    """Return a text whose control characters, surrogates and direction marks are written as escapes.

    Text of a stranger's file then cannot move a terminal's cursor, set its title or hide part of a line.
    """
    if text.isprintable():
        return text
    return "".join(letter if _is_plain(letter) else letter.encode("unicode_escape").decode() for letter in text)


#: what spreadsheets take for the beginning of a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_cell(value: object) -> object:
    """Return a cell of CSV that no spreadsheet takes for a formula: such text gets an apostrophe before it, numbers stay.

    Names, labels and messages come from files and options of others. :func:`from_cell` takes the apostrophe away.
    """
    if not isinstance(value, str) or not value.lstrip("'").startswith(_FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def from_cell(value: object) -> object:
    """Return the value that :func:`as_cell` made a cell from."""
    if isinstance(value, str) and value.startswith("'") and value.lstrip("'").startswith(_FORMULA):
        return value[1:]
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_plain(letter: str) -> bool:
    return letter in "\n\t\u200d" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


class FormerName(DeprecationWarning):
    """A name is used that has been replaced; commands print it as a note."""


def one_or_all(errors: Sequence[InputError]) -> InputError | InputErrors:
    """Wrap a non-empty list of problems into the exception to raise."""
    return errors[0] if len(errors) == 1 else InputErrors(errors)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to a misspelt one, or None when nothing is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str], *, listing: int = 12) -> str:
    """Return the tail of a message on an unknown name: the nearest one, else the choices there are."""
    names = sorted(set(known))
    match = nearest(word, names)
    if match:
        return f"did you mean '{match}'?"
    shown = ", ".join(names[:listing]) + (", …" if len(names) > listing else "")
    return f"known: {shown}" if names else "none is known here"
