"""BurstGPT (Wang et al., KDD 2025): two years of ChatGPT and GPT-4 at a campus; failures have no response tokens."""

from __future__ import annotations

from collections.abc import Iterator

from papisim.workloads.traces.csv_rows import CsvLayout, header, read_csv
from papisim.workloads.traces.reading import Reading, Row

DESCRIPTION = "BurstGPT: CSV with Timestamp (s), Model, Request tokens, Response tokens, Log Type"
TAKES = frozenset({"where"})
_LAYOUT = CsvLayout("Request tokens", "Response tokens", "Timestamp", "s", needs_arrival=True)


def detect(head: str) -> bool:
    """Return whether the header is BurstGPT's; its later files have more columns."""
    return header(head) >= {"Timestamp", "Request tokens", "Response tokens"}


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file."""
    return read_csv(reading, _LAYOUT)
