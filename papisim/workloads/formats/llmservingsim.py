"""Traces of LLMServingSim (Cho et al., IISWC 2024): JSON lines, or the same fields as CSV; times in ns."""

from __future__ import annotations

from collections.abc import Iterator

from papisim.kinds import Example
from papisim.workloads.traces.csv_rows import CsvLayout, header, read_csv
from papisim.workloads.traces.json_values import has_keys, json_objects, read_fields
from papisim.workloads.traces.reading import Reading, Row

TAKES = frozenset({"where", "time_unit"})
EXAMPLE = Example(
    {"path": "requests.json"},
    files={
        "requests.json": (
            '{"input_toks": 9, "output_toks": 2, "arrival_time_ns": 10, "input_tok_ids": [0, 1, 2, 3, 4, 5, 6, 7, 8]}\n'
            '{"input_toks": 8, "output_toks": 3, "arrival_time_ns": 2000000010}\n'
        )
    },
    beside={"requests": [(0, 9, 2), (2, 8, 3)]},
)
_LENGTHS, _ARRIVAL = ("input_toks", "output_toks"), "arrival_time_ns"


def detect(head: str) -> bool:
    """Return whether the fields or the header are LLMServingSim's."""
    return header(head) >= {*_LENGTHS, _ARRIVAL} or has_keys(head, *_LENGTHS)


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file."""
    if header(reading.text.head()):
        return read_csv(reading, CsvLayout(*_LENGTHS, _ARRIVAL, "ns", needs_arrival=True))
    return read_fields(reading, json_objects(reading), _LENGTHS, _ARRIVAL, "ns")
