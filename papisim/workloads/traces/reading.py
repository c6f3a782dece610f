"""One reading of one file: what a format is given, and where it reports what it cannot use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from papisim import foreign
from papisim.errors import InputError, InputErrors, did_you_mean, one_or_all
from papisim.workloads.content import Said
from papisim.workloads.traces.spec import TimeUnit, TraceFile
from papisim.workloads.traces.text import TextFile

FigureT = TypeVar("FigureT")

#: arrival in s, or None where the file has none; input tokens; output tokens; what is known of its texts, where anything is
Row = tuple[float | None, int, int] | tuple[float | None, int, int, Said]

_MAX_ERRORS = 20
_MAX_VALUES = 1000


class Reading:
    """A file that is being read.

    Attributes:
        text: the file.
        options: what the user says of it.
        dropped: how many requests were left out, by reason.
        assumed_unit: unit of the arrivals by the format's word alone; None where the user says it.
        notes: remarks on the requests.
    """

    def __init__(self, options: TraceFile) -> None:
        self.text, self.options = TextFile(options.path), options
        self.dropped: Counter[str] = Counter()
        self.assumed_unit: TimeUnit | None = None
        self.notes: list[str] = []
        self._errors: list[InputError] = []
        self._seen: dict[str, set[str]] = {field: set() for field in options.where}
        self._wanted = {field: str(value) for field, value in options.where.items()}

    def time_unit(self, of_format: TimeUnit) -> TimeUnit:
        """Return the unit of arrivals: the user's, else the format's."""
        if self.options.time_unit is not None:
            return self.options.time_unit
        self.assumed_unit = of_format
        return of_format

    def error(self, message: str, *, line: int | None = None, field: str | None = None) -> InputError:
        """Make an error about the file."""
        return InputError(message, file=str(self.text), line=line, field=field)

    def wrong(self, line: int, field: str | None, message: str) -> None:
        """Note what is wrong with a line.

        Raises:
            InputErrors: there are more errors than are worth listing.
        """
        self._errors.append(self.error(message, line=line, field=field))
        if len(self._errors) == _MAX_ERRORS:
            self._errors.append(self.error(f"more may be wrong; the first {_MAX_ERRORS} are shown"))
            raise InputErrors(self._errors)

    def figure(self, line: int, field: str, value: Any, convert: Callable[[Any], FigureT]) -> FigureT | None:
        """Return a JSON value as ``convert`` reads it; None, and a note, where it cannot."""
        try:
            return convert(value)
        except ValueError as error:
            self.wrong(line, field, f"found {foreign.found(value)}, {error}")
            return None

    def check(self, n_requests: int) -> None:
        """End the reading.

        Raises:
            InputError, InputErrors: lines were wrong, or no request is left.
        """
        if self._errors:
            raise one_or_all(self._errors)
        for field, value in self._wanted.items():
            if value not in self._seen[field]:
                hint = did_you_mean(value, self._seen[field])
                raise self.error(f"where.{field}: no request has '{value}'; {hint}")
        if not n_requests:
            left_out = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
            raise self.error(f"holds no request{f' ({left_out})' if left_out else ''}")

    def keeps(self, record: Mapping[str, object]) -> bool:
        """Return whether the user wants a record, going by ``where``."""
        keep = True
        for field, value in self._wanted.items():
            found = str(record.get(field, ""))
            if len(self._seen[field]) < _MAX_VALUES or found == value:
                self._seen[field].add(found)
            keep = keep and found == value
        return keep


def count(value: object) -> int:
    """Return a count of tokens, of a cell's text or of a JSON number.

    Raises:
        ValueError: not a whole number of at least 0 that a request could have; says what was expected.
    """
    return foreign.whole(value)
