"""A CSV with a header: which column holds what is for the user to say, or by papisim's own names.

Without ``columns``: ``input_tokens``, ``output_tokens`` and, where there are arrivals, ``arrival_s``; so the ``requests.csv`` of a
result folder can be replayed, and files of lengths by category be read.
"""

from __future__ import annotations

from collections.abc import Iterator

from papisim.kinds import Example
from papisim.workloads.traces.csv_rows import CsvLayout, header, read_csv
from papisim.workloads.traces.reading import Reading, Row
from papisim.workloads.traces.spec import Columns
from papisim.workloads.traces.times import NO_ARRIVALS

TAKES = frozenset({"where", "columns", "time_unit"})
EXAMPLE = Example(
    {"path": "requests.csv"},
    files={"requests.csv": ("arrival_s,input_tokens,output_tokens\n1.5,395,112\n2,1030,403\n")},
    beside={"requests": [(0, 395, 112), (0.5, 1030, 403)]},
)
_ARRIVAL = "arrival_s"


def detect(head: str) -> bool:
    """Return whether the columns have papisim's names."""
    return header(head) >= {"input_tokens", "output_tokens"}


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file.

    Raises:
        InputError: the time unit is missing, or there is no time that it could be of.
        InputErrors: too many lines are wrong.
    """
    columns, unit = reading.options.columns or Columns(), reading.options.time_unit
    if columns.arrival is None:
        if unit is not None:
            raise reading.error(NO_ARRIVALS, field="time_unit")
        return read_csv(reading, CsvLayout(columns.input_tokens, columns.output_tokens, _ARRIVAL))
    if unit is None:
        raise reading.error(f"is missing: which unit is the column '{columns.arrival}' in?", field="time_unit")
    return read_csv(
        reading, CsvLayout(columns.input_tokens, columns.output_tokens, columns.arrival, unit, needs_arrival=True)
    )
