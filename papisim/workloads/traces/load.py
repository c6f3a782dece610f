"""From a file of requests to arrays of arrivals and lengths."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from papisim.errors import InputError
from papisim.workloads.content import NOTHING, Said
from papisim.workloads.formats.base import FORMAT, Format
from papisim.workloads.traces.reading import Reading
from papisim.workloads.traces.spec import SOME_FORMATS_TAKE, TimeUnit, TraceFile
from papisim.workloads.traces.text import TextFile

#: units of which a format that counts in them has whole numbers, in a second
_WHOLE_PER_S: dict[TimeUnit, float] = {"ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True)
class RequestTable:
    """Requests in the order of their arrival.

    Attributes:
        format: the module of :mod:`papisim.workloads.formats` that read them.
        arrival_s: shape [n]; not descending, the first at 0; None where the file has no arrivals.
        input_tokens: shape [n]; at least 1.
        output_tokens: shape [n]; at least 1.
        dropped: how many requests of the file were left out, by reason.
        notes: what was done to the others.
        said: what is known of the texts of each, n in all; None where nothing is.
    """

    format: str
    arrival_s: NDArray[np.float64] | None
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    said: tuple[Said, ...] | None = None

    def __len__(self) -> int:
        return len(self.input_tokens)

    def take(self, chosen: NDArray[np.int64] | slice, arrival_s: NDArray[np.float64] | None = None) -> RequestTable:
        """Return some of the requests, in the order chosen; ``arrival_s`` replaces the arrivals of all."""
        arrival_s = self.arrival_s if arrival_s is None else arrival_s
        return replace(
            self,
            arrival_s=None if arrival_s is None else arrival_s[chosen],
            input_tokens=self.input_tokens[chosen],
            output_tokens=self.output_tokens[chosen],
            said=None if self.said is None else tuple(self.said[i] for i in np.arange(len(self))[chosen].tolist()),
        )


def load_requests(options: TraceFile) -> RequestTable:
    """Read a file of requests.

    Nothing but the arrays is kept in memory, 24 bytes per request, and what is known of the texts. Requests that stand out of the order of their arrival are sorted.

    Raises:
        InputError, InputErrors: no such file, a format that is not known or does not fit, wrong lines (each with its number and
            field), a wrong checksum, or no request at all.
        MissingExtra: the tokenizer's library is not installed.
    """
    try:
        stamp = TextFile(options.path).path.stat()
        changed = (stamp.st_mtime_ns, stamp.st_size)
    except OSError:  # reading fails as well, and says why
        changed = (0, 0)
    return _load(options.model_dump_json(include=set(TraceFile.model_fields)), changed)


def detect_format(options: TraceFile) -> str:
    """Return the format of a file: the one that is named, or that its head looks like.

    Raises:
        InputError: no such file, or it looks like none or several.
    """
    return _format(Reading(options))


@lru_cache(maxsize=4)  # a sweep reads the same file for each of its points
def _load(options_json: str, changed: tuple[int, int]) -> RequestTable:
    del changed
    reading = Reading(TraceFile.model_validate_json(options_json))
    _check_sum(reading)
    name = _format(reading)
    format_ = FORMAT.load(name).thing()
    _check_fields(reading, name, format_)
    return _in_order(_fill(reading, name, format_))


def _fill(reading: Reading, name: str, format_: Format) -> RequestTable:
    arrivals, inputs, outputs = array("d"), array("q"), array("q")
    said: list[Said] = []
    zeros, becomes = 0, reading.options.zero_tokens
    for number, (arrival_s, input_tokens, output_tokens, *known) in enumerate(format_.read(reading), start=1):
        if not (input_tokens and output_tokens):
            zeros += 1
            if becomes == "refuse":
                raise reading.error(f"request {number} has no {'output' if input_tokens else 'input'} tokens")
            if becomes == "drop":
                continue
        if arrival_s is not None:
            arrivals.append(arrival_s)
        inputs.append(input_tokens or 1)
        outputs.append(output_tokens or 1)
        said.append(known[0] if known and input_tokens else NOTHING)
    notes = list(reading.notes)
    if zeros and becomes == "drop":
        reading.dropped["without input or output tokens"] = zeros
    elif zeros:
        notes.append(f"{zeros:,} requests without input or output tokens count as one token long")
    reading.check(len(inputs))
    notes += _odd_unit(reading.assumed_unit, arrivals)
    columns = (np.array(arrivals) if arrivals else None, np.array(inputs), np.array(outputs))
    return RequestTable(
        name, *columns, dict(reading.dropped), tuple(notes), tuple(said) if any(map(any, said)) else None
    )


def _odd_unit(assumed: TimeUnit | None, arrivals_s: array[float]) -> list[str]:
    """Return a note where arrivals are fractions of a unit that the format has whole numbers of."""
    if assumed not in _WHOLE_PER_S or not arrivals_s:
        return []
    units = np.array(arrivals_s) * _WHOLE_PER_S[assumed]
    if not np.any(np.abs(units - np.round(units)) > np.maximum(1e-3, 1e-9 * np.abs(units))):
        return []
    return [
        f"arrivals are taken as {assumed}, of which this format has whole numbers, and some are fractions; time_unit says another unit"
    ]


def _in_order(table: RequestTable) -> RequestTable:
    """Sort by arrival, and let time start at the first."""
    if table.arrival_s is None:
        return table
    arrival_s = table.arrival_s - table.arrival_s.min()
    late = int(np.count_nonzero(np.diff(arrival_s) < 0))
    if late:
        note = f"{late:,} requests stood after one that arrives later; all are sorted by arrival"
        table = replace(table, notes=(*table.notes, note))
    return table.take(np.argsort(arrival_s, kind="stable"), arrival_s)


def _check_sum(reading: Reading) -> None:
    wanted = reading.options.sha256
    if wanted is not None and (found := reading.text.sha256()) != wanted:
        raise reading.error(f"found the SHA-256 {found}, expected {wanted}: it is not the file that was meant")


def _format(reading: Reading) -> str:
    if reading.options.format != "auto":
        return reading.options.format
    head = reading.text.head()
    if not head.strip():
        raise reading.error("is empty, expected requests")
    names = FORMAT.names()
    found = [name for name in names if FORMAT.load(name).thing().detect(head)]
    if len(found) == 1:
        return found[0]
    choice = f"say 'format', one of {', '.join(found or names)}"
    if found:
        raise reading.error(f"looks like several formats; {choice}")
    first = head.lstrip().partition("\n")[0].strip()
    raise reading.error(
        f"is in no format known here: it begins with '{first[:80]}'; {choice}, or 'format: csv' with 'columns'",
        line=1,
    )


def _check_fields(reading: Reading, name: str, format_: Format) -> None:
    """Refuse fields that this format would ignore."""
    given = {name for name in SOME_FORMATS_TAKE if getattr(reading.options, name)}
    for unused in sorted(given - format_.TAKES):
        takers = [other for other in FORMAT.names() if unused in FORMAT.load(other).thing().TAKES]
        raise InputError(
            f"'{unused}' says nothing about files of the format {name}; formats that use it: {', '.join(takers)}",
            file=str(reading.text),
            field=unused,
        )
