"""Requests from CSV with a header."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from papisim.errors import did_you_mean
from papisim.workloads.traces.reading import Reading, Row, count
from papisim.workloads.traces.spec import TimeUnit
from papisim.workloads.traces.times import NO_ARRIVALS, clock


@dataclass(frozen=True)
class CsvLayout:
    """Which columns hold what; a file may do without ``arrival`` unless ``needs_arrival``."""

    input_tokens: str
    output_tokens: str
    arrival: str | None = None
    time_unit: TimeUnit = "s"
    needs_arrival: bool = False


def header(head: str) -> set[str]:
    """Return the column names in the first line of a file, none where it is no CSV."""
    first = next(iter(head.lstrip().splitlines()), "")
    return set() if first[:1] in ("{", "[") else {name.strip() for name in next(csv.reader([first]), [])}


def read_csv(reading: Reading, layout: CsvLayout) -> Iterator[Row]:
    """Yield the requests of a CSV file; cells that are wrong are reported with their line and column.

    Raises:
        InputError, InputErrors: a column is missing, or too many lines are wrong.
    """
    lines = csv.reader(reading.text.lines())
    names = [name.strip() for name in next(lines, [])]
    places = _places(reading, layout, names)
    while True:
        try:
            cells = next(lines, None)
        except csv.Error as error:
            reading.wrong(lines.line_num, None, f"is not CSV: {error}")
            continue
        if cells is None:
            return
        if not any(cells):
            continue
        if len(cells) < len(names):
            reading.wrong(lines.line_num, None, f"found {len(cells)} cells, expected {len(names)}")
        elif not reading.options.where or reading.keeps(dict(zip(names, cells, strict=False))):
            row = _row(reading, places, cells, lines.line_num)
            if row is not None:
                yield row


@dataclass(frozen=True)
class _Cell:
    """Column of a figure in a line, and its conversion from text."""

    name: str
    index: int
    convert: Callable[[str], float]


def _places(reading: Reading, layout: CsvLayout, names: list[str]) -> list[_Cell]:
    """Return where input tokens, output tokens and, where there are arrivals, those stand."""
    for name in reading.options.where:
        if name not in names:
            raise reading.error(f"where: no column '{name}'; {did_you_mean(name, names)}", line=1)
    wanted: list[tuple[str, Callable[[str], float]]] = [(layout.input_tokens, count), (layout.output_tokens, count)]
    if layout.arrival is not None and (layout.needs_arrival or layout.arrival in names):
        wanted.append((layout.arrival, clock(reading.time_unit(layout.time_unit))))
    elif reading.options.time_unit is not None:
        raise reading.error(NO_ARRIVALS, field="time_unit")
    for name, _ in wanted:
        if name not in names:
            raise reading.error(f"no column '{name}'; {did_you_mean(name, names)}", line=1)
    return [_Cell(name, names.index(name), convert) for name, convert in wanted]


def _row(reading: Reading, places: list[_Cell], cells: list[str], line: int) -> Row | None:
    values: list[Any] = []
    for cell in places:
        try:
            values.append(cell.convert(cells[cell.index]))
        except ValueError as error:
            reading.wrong(line, cell.name, f"found '{cells[cell.index][:40]}', {error}")
            return None
    input_tokens, output_tokens, *arrival_s = values
    return (arrival_s[0] if arrival_s else None), input_tokens, output_tokens
