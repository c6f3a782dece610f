"""Traces of splitwise-sim (Patel et al., ISCA 2024)."""

from __future__ import annotations

from collections.abc import Iterator

from papisim.kinds import Example
from papisim.workloads.traces.csv_rows import CsvLayout, header, read_csv
from papisim.workloads.traces.reading import Reading, Row

TAKES = frozenset({"where", "time_unit"})
EXAMPLE = Example(
    {"path": "requests.csv"},
    files={
        "requests.csv": (
            "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
            "0,2,0,0.5,1,10,20\n"
            "1,2,0,0.75,1,30,40\n"
        )
    },
    beside={"requests": [(0, 10, 20), (0.25, 30, 40)]},
)
_LAYOUT = CsvLayout("prompt_size", "token_size", "arrival_timestamp", "s", needs_arrival=True)


def detect(head: str) -> bool:
    """Return whether the header is splitwise-sim's."""
    return header(head) >= {"arrival_timestamp", "prompt_size", "token_size"}


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file."""
    return read_csv(reading, _LAYOUT)
