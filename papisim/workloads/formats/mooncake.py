"""Mooncake (Qin et al., FAST 2025): JSON lines, or the same fields as CSV.

The hashes of 512-token blocks, which tell what prompts share, are not used: prompts are computed in full.
"""

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
            '{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
            '{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]}\n'
        )
    },
    beside={"requests": [(0, 6955, 52), (3.053, 6472, 26)]},
)
_CSV_TIMES = ("timestamp_ms", "timestamp")
_LENGTHS = ("input_length", "output_length")


def detect(head: str) -> bool:
    """Return whether the fields or the header are Mooncake's."""
    names = header(head)
    is_csv = names >= set(_LENGTHS) and bool(names & set(_CSV_TIMES))
    return is_csv or has_keys(head, "timestamp", *_LENGTHS)


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file."""
    names = header(reading.text.head())
    if not names:
        return read_fields(reading, json_objects(reading), _LENGTHS, "timestamp", "ms")
    arrival = next((name for name in _CSV_TIMES if name in names), _CSV_TIMES[0])
    return read_csv(reading, CsvLayout(*_LENGTHS, arrival, "ms", needs_arrival=True))
