"""Traces of Vidur (Agrawal et al., MLSys 2024); its length files have no arrivals."""

from __future__ import annotations

from collections.abc import Iterator

from papisim.kinds import Example
from papisim.workloads.traces.csv_rows import CsvLayout, header, read_csv
from papisim.workloads.traces.reading import Reading, Row

TAKES = frozenset({"where", "time_unit"})
EXAMPLE = Example(
    {"path": "requests.csv"},
    files={"requests.csv": ("arrived_at,num_prefill_tokens,num_decode_tokens\n1.0,10,20\n1.5,30,40\n")},
    beside={"requests": [(0, 10, 20), (0.5, 30, 40)]},
)
_LAYOUT = CsvLayout("num_prefill_tokens", "num_decode_tokens", "arrived_at", "s")


def detect(head: str) -> bool:
    """Return whether the header is Vidur's."""
    return header(head) >= {"num_prefill_tokens", "num_decode_tokens"}


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file."""
    return read_csv(reading, _LAYOUT)
