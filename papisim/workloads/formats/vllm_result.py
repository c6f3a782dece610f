"""Results of vLLM's ``bench serve`` (and SGLang's): the requests that were sent, one list a figure.

A request that failed has an output of 0 tokens. Newer versions say when each was sent (``start_times``, in s).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from papisim.kinds import Example
from papisim.workloads.traces.json_values import has_keys, json_documents, read_fields
from papisim.workloads.traces.reading import Reading, Row

TAKES = frozenset({"time_unit"})
EXAMPLE = Example(
    {"path": "requests.json"},
    files={
        "requests.json": (
            "{\n"
            '  "date": "20260101",\n'
            '  "request_rate": 2,\n'
            '  "input_lens": [\n'
            "    3,\n"
            "    4\n"
            "  ],\n"
            '  "output_lens": [\n'
            "    5,\n"
            "    0\n"
            "  ]\n"
            "}"
        )
    },
    beside={"requests": [(None, 3, 5)]},
)
_LENGTHS, _STARTS = ("input_lens", "output_lens"), "start_times"


def detect(head: str) -> bool:
    """Return whether the fields are there."""
    return has_keys(head, "input_lens")


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file.

    Raises:
        InputErrors: too many are wrong.
    """
    requests = _requests(reading)
    for first in requests:
        arrival = _STARTS if _STARTS in first[1] else None
        yield from read_fields(reading, chain([first], requests), _LENGTHS, arrival)


def _requests(reading: Reading) -> Iterator[tuple[int, dict[str, object]]]:
    for line, result in json_documents(reading):
        lists: dict[str, Any] = {name: result[name] for name in (*_LENGTHS, _STARTS) if name in result}
        if not all(isinstance(values, list) for values in lists.values()) or len(set(map(len, lists.values()))) > 1:
            reading.wrong(line, _LENGTHS[0], "expected lists as long as each other, as --save-detailed writes them")
            continue
        for values in zip(*lists.values(), strict=True):
            yield line, dict(zip(lists, values, strict=True))
