"""Traces of splitwise-sim (Patel et al., ISCA 2024)."""

from __future__ import annotations

from collections.abc import Iterator

from papisim.workloads.traces.csv_rows import CsvLayout, header, read_csv
from papisim.workloads.traces.reading import Reading, Row

DESCRIPTION = "splitwise-sim: CSV with arrival_timestamp (s), prompt_size, token_size"
TAKES = frozenset({"where"})
_LAYOUT = CsvLayout("prompt_size", "token_size", "arrival_timestamp", "s", needs_arrival=True)


def detect(head: str) -> bool:
    """Return whether the header is splitwise-sim's."""
    return header(head) >= {"arrival_timestamp", "prompt_size", "token_size"}


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file."""
    return read_csv(reading, _LAYOUT)
