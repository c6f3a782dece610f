"""databricks-dolly-15k as published: JSON lines of text with a category; prompt = instruction, newline, context."""

from __future__ import annotations

from collections.abc import Iterator

from papisim.kinds import Example
from papisim.workloads.traces.json_values import has_keys, json_objects
from papisim.workloads.traces.reading import Reading, Row
from papisim.workloads.traces.tokens import token_counter

TAKES = frozenset({"where", "tokenizer", "chars_per_token"})
EXAMPLE = Example(
    {"path": "requests.json", "chars_per_token": 4},
    files={
        "requests.json": (
            '{"instruction": "aaaa", "context": "", "response": "bbbbb", "category": "open_qa"}\n'
            '{"instruction": "aaaa", "context": "ccc", "response": "b", "category": "closed_qa"}\n'
        )
    },
    beside={"requests": [(None, 1, 2), (None, 2, 1)]},
)
_FIELDS = ("instruction", "context", "response")


def detect(head: str) -> bool:
    """Return whether the fields are Dolly's."""
    return has_keys(head, *_FIELDS)


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the file; there are no arrivals.

    Raises:
        InputError: there is no way to count tokens.
        InputErrors: too many records are wrong.
        MissingExtra: the tokenizer's library is not installed.
    """
    tokens = token_counter(reading)
    for line, record in json_objects(reading):
        texts = [record.get(field) for field in _FIELDS]
        wrong = next((field for field, text in zip(_FIELDS, texts, strict=True) if not isinstance(text, str)), None)
        if wrong is not None:
            reading.wrong(line, wrong, "expected text")
            continue
        instruction, context, response = map(str, texts)
        yield None, tokens(f"{instruction}\n{context}" if context else instruction), tokens(response)
