"""Mooncake (Qin et al., FAST 2025): JSON lines, or the same fields as CSV.

``hash_ids`` has a hash for every block of 512 tokens of the prompt, the last of which may be partial: prompts whose first hashes are
equal begin with the same tokens. CSV has no such lists; its prompts are like no other.
"""

from __future__ import annotations

from collections.abc import Iterator

from papisim import foreign
from papisim.kinds import Example
from papisim.workloads.content import NOTHING, Said, hashed_blocks
from papisim.workloads.traces.csv_rows import CsvLayout, header, read_csv
from papisim.workloads.traces.json_values import has_keys, json_objects, read_fields
from papisim.workloads.traces.reading import Reading, Row

TAKES = frozenset({"where", "time_unit", "hash_block_tokens"})
EXAMPLE = Example(
    {"path": "requests.json"},
    files={
        "requests.json": (
            '{"timestamp": 27482, "input_length": 1000, "output_length": 52, "hash_ids": [46, 47]}\n'
            '{"timestamp": 30535, "input_length": 512, "output_length": 26, "hash_ids": [46]}\n'
        )
    },
    beside={"requests": [(0, 1000, 52), (3.053, 512, 26)]},
)
_CSV_TIMES = ("timestamp_ms", "timestamp")
_LENGTHS = ("input_length", "output_length")
_BLOCK_TOKENS = 512


def detect(head: str) -> bool:
    """Return whether the fields or the header are Mooncake's."""
    names = header(head)
    is_csv = names >= set(_LENGTHS) and bool(names & set(_CSV_TIMES))
    return is_csv or has_keys(head, "timestamp", *_LENGTHS)


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file.

    Raises:
        InputError: a size of blocks is given for a CSV file.
        InputErrors: too many lines are wrong.
    """
    names = header(reading.text.head())
    if names:
        if reading.options.hash_block_tokens is not None:
            raise reading.error("is given, and CSV has no hashes", field="hash_block_tokens")
        arrival = next((name for name in _CSV_TIMES if name in names), _CSV_TIMES[0])
        yield from read_csv(reading, CsvLayout(*_LENGTHS, arrival, "ms", needs_arrival=True))
        return
    hashes = _Hashes(reading)
    yield from read_fields(reading, json_objects(reading), _LENGTHS, "timestamp", "ms", said=hashes.said)
    if hashes.odd:
        reading.notes.append(
            f"{hashes.odd:,} requests do not have one of their hash_ids for every {hashes.block_tokens} tokens (hash_block_tokens); "
            "their prompts are taken as like no other"
        )


class _Hashes:
    """Reads ``hash_ids``.

    Attributes:
        block_tokens: tokens that a hash is of.
        odd: requests so far that have too few or too many hashes.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.block_tokens = reading.options.hash_block_tokens or _BLOCK_TOKENS
        self.odd = 0

    def said(self, line: int, record: dict[str, object], input_tokens: int) -> Said:
        """Return the content of a prompt by its hashes."""
        hashes = record.get("hash_ids")
        if hashes is None:
            return NOTHING
        if not isinstance(hashes, list) or not all(type(each) in (int, str) for each in hashes):
            self._reading.wrong(
                line, "hash_ids", f"found {foreign.found(hashes)}, expected a list of whole numbers or texts"
            )
            return NOTHING
        if len(hashes) != -(-input_tokens // self.block_tokens):
            self.odd += 1
            return NOTHING
        return Said(hashed_blocks(hashes, input_tokens, self.block_tokens))
