"""Azure LLM inference traces of 2023 and 2024, and the multimodal one of 2025, whose context has the image tokens.

Patel et al., Splitwise, ISCA 2024; Stojkovic et al., DynamoLLM, HPCA 2025; Qiu et al., ModServe, SoCC 2025.
"""

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
            "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
            "2023-11-16 23:59:59.5000000,374,44\r\n"
            "2023-11-17 00:00:00.7512340,1,2\r\n"
        )
    },
    beside={"requests": [(0, 374, 44), (1.251234, 1, 2)]},
)
_LAYOUT = CsvLayout("ContextTokens", "GeneratedTokens", "TIMESTAMP", "datetime", needs_arrival=True)


def detect(head: str) -> bool:
    """Return whether the header is Azure's."""
    return header(head) >= {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file."""
    return read_csv(reading, _LAYOUT)
