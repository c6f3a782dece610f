"""BurstGPT (Wang et al., KDD 2025): two years of ChatGPT and GPT-4 at a campus; failures have no response tokens."""

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
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            "5,ChatGPT,472,18,490,Conversation log\n"
            "45,GPT-4,30,0,30,API log\n"
            "118,GPT-4,100,60,160,API log\n"
        )
    },
    beside={"requests": [(0, 472, 18), (113, 100, 60)]},
)
_LAYOUT = CsvLayout("Request tokens", "Response tokens", "Timestamp", "s", needs_arrival=True)


def detect(head: str) -> bool:
    """Return whether the header is BurstGPT's; its later files have more columns."""
    return header(head) >= {"Timestamp", "Request tokens", "Response tokens"}


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file."""
    return read_csv(reading, _LAYOUT)
