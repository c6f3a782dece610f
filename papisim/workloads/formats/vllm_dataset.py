"""Data sets of vLLM's benchmarks as lengths: JSON lines with ``prompt_len`` and ``output_len``; no arrivals."""

from __future__ import annotations

from collections.abc import Iterator

from papisim.kinds import Example
from papisim.workloads.traces.json_values import has_keys, json_objects, read_fields
from papisim.workloads.traces.reading import Reading, Row

TAKES = frozenset({"where"})
EXAMPLE = Example(
    {"path": "requests.json"},
    files={"requests.json": ('{"prompt_len": 10, "output_len": 20}\n{"prompt_len": 30, "output_len": 40}\n')},
    beside={"requests": [(None, 10, 20), (None, 30, 40)]},
)
_LENGTHS = ("prompt_len", "output_len")


def detect(head: str) -> bool:
    """Return whether the fields are there."""
    return has_keys(head, *_LENGTHS)


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file."""
    return read_fields(reading, json_objects(reading), _LENGTHS)
