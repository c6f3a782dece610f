"""Requests from JSON: a value a line, or the elements of one long array, never all of them at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from papisim import foreign
from papisim.errors import did_you_mean
from papisim.workloads.content import Said
from papisim.workloads.traces.reading import Reading, Row, count
from papisim.workloads.traces.spec import TimeUnit
from papisim.workloads.traces.text import PIECE
from papisim.workloads.traces.times import NO_ARRIVALS, clock

_SPACE = re.compile(r"\s*")


def has_keys(head: str, *keys: str) -> bool:
    """Return whether the first characters of a file are JSON in which all these keys stand."""
    return head.lstrip()[:1] in ("{", "[") and all(f'"{key}"' in head for key in keys)


def json_objects(reading: Reading) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the objects of a file of JSON lines, or of one array, that the user wants, each with its line.

    What is no JSON or no object is reported.

    Raises:
        InputErrors: too much is wrong.
    """
    values = _array(reading) if reading.text.head().lstrip()[:1] == "[" else _lines(reading)
    for line, value in values:
        if not isinstance(value, dict):
            reading.wrong(line, None, "expected a JSON object")
        elif not reading.options.where or reading.keeps(value):
            yield line, value


def _lines(reading: Reading) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(reading.text.lines(), start=1):
        if line.strip():
            try:
                value = foreign.read_json(line)
            except foreign.JSON_FAULTS as error:
                reading.wrong(number, None, foreign.json_fault(error))
            else:
                yield number, value


def _array(reading: Reading) -> Iterator[tuple[int, object]]:
    """Decode one element after another from a window of the text that moves along."""
    pieces, decoder = reading.text.pieces(), json.JSONDecoder()
    window = next(pieces)
    place, line, counted = window.index("[") + 1, 1, 0
    while True:
        start = _skip_space(window, place)
        if window[start : start + 1] == "]":
            return
        try:
            value, end = decoder.raw_decode(window, start)
            after = _skip_space(window, end)
            if window[after : after + 1] not in (",", "]"):
                raise json.JSONDecodeError("expected ',' or ']'", window, after)
        except foreign.JSON_FAULTS as error:
            # the element may go on beyond the window, which doubles so that long elements are not tried too often
            more = "".join(islice(pieces, 1 + len(window) // PIECE))
            if not more:
                line += window.count("\n", counted, getattr(error, "pos", start))
                reading.wrong(line, None, foreign.json_fault(error))
                return
            line += window.count("\n", counted, place)
            window, place, counted = window[place:] + more, 0, 0
            continue
        line += window.count("\n", counted, start)
        counted = start
        yield line, value
        place = after + (window[after] == ",")


def _skip_space(text: str, place: int) -> int:
    return _SPACE.match(text, place).end()  # type: ignore[union-attr] # matches anywhere


def json_documents(reading: Reading) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the objects that stand one after another in a file, each on as many lines as it likes, with their first line.

    The file is read as a whole.
    """
    text, place, decoder = "".join(reading.text.pieces()), 0, json.JSONDecoder()
    while (place := _skip_space(text, place)) < len(text):
        try:
            value, end = decoder.raw_decode(text, place)
        except foreign.JSON_FAULTS as error:
            line = 1 + text.count("\n", 0, getattr(error, "pos", place))
            reading.wrong(line, None, foreign.json_fault(error))
            return
        line = 1 + text.count("\n", 0, place)
        if isinstance(value, dict):
            yield line, value
        else:
            reading.wrong(line, None, "expected a JSON object")
        place = end


def read_fields(
    reading: Reading,
    records: Iterable[tuple[int, dict[str, object]]],
    lengths: tuple[str, str],
    arrival: str | None = None,
    unit: TimeUnit = "s",
    *,
    said: Callable[[int, dict[str, object], int], Said] | None = None,
) -> Iterator[Row]:
    """Yield the requests of JSON objects that have their figures as fields.

    Args:
        reading: the file.
        records: its objects, each with its line.
        lengths: fields of the prompt's length and the answer's.
        arrival: field of the arrival, if there is one.
        unit: of the arrival, unless the user says another.
        said: returns what is known of the texts of an object's request, from its line, the object and its input tokens.

    Raises:
        InputErrors: too many are wrong.
    """
    if arrival is None and reading.options.time_unit is not None:
        raise reading.error(NO_ARRIVALS, field="time_unit")
    time = clock(reading.time_unit(unit))
    fields = lengths if arrival is None else (*lengths, arrival)
    for line, record in records:
        missing = next((field for field in fields if field not in record), None)
        if missing is not None:
            reading.wrong(line, missing, f"field is missing; {did_you_mean(missing, record)}")
            continue
        arrival_s = None if arrival is None else reading.figure(line, arrival, record[arrival], time)
        input_tokens, output_tokens = (reading.figure(line, field, record[field], count) for field in lengths)
        if input_tokens is not None and output_tokens is not None and (arrival is None or arrival_s is not None):
            row = arrival_s, input_tokens, output_tokens
            yield row if said is None else (*row, said(line, record, input_tokens))
