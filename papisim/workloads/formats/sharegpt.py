"""Conversations as in ShareGPT: JSON, an array or a conversation a line; text, so tokens have to be counted.

``[{"id": …, "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}]``. Lines with ``messages``,
``role`` and ``content`` instead are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from papisim.kinds import Example
from papisim.workloads.traces.json_values import has_keys, json_objects
from papisim.workloads.traces.reading import Reading, Row
from papisim.workloads.traces.tokens import token_counter

TAKES = frozenset({"where", "tokenizer", "chars_per_token", "turns"})
EXAMPLE = Example(
    {"path": "requests.json", "chars_per_token": 4},
    files={
        "requests.json": (
            '[{"id": "x", "conversations": [{"from": "human", "value": "aaaaaaaa"}, {"from": "gpt", "value": "bbbbbbbbbbbb"}, {"from": "human", "value": "cccc"}, {"from": "gpt", "value": "dddddddddddddddddddd"}]}, {"id": "y", "conversations": [{"from": "human", "value": "aaaaaaaa"}]}]'
        )
    },
    beside={"requests": [(None, 2, 3)]},
)
_SHAPES = (("conversations", "from", "value"), ("messages", "role", "content"))
_ANSWERS = frozenset({"gpt", "assistant", "chatgpt", "bard", "bing"})


def detect(head: str) -> bool:
    """Return whether there are conversations."""
    return any(has_keys(head, *shape) for shape in _SHAPES)


def read(reading: Reading) -> Iterator[Row]:
    """Yield the requests of the conversations, in file order; there are no arrivals.

    Raises:
        InputError: there is no way to count tokens.
        InputErrors: too many conversations are wrong.
        MissingExtra: the tokenizer's library is not installed.
    """
    tokens = token_counter(reading)
    everything = reading.options.turns == "all"
    for line, conversation in json_objects(reading):
        turns = _turns(reading, line, conversation)
        if turns is None:
            continue
        so_far, requests = 0, 0
        for speaker, text in turns:
            length = tokens(text)
            if speaker in _ANSWERS and so_far:
                requests += 1
                yield None, so_far, length
                if not everything:
                    break
            so_far += length
        if not requests:
            reading.dropped["conversations without a prompt and its answer"] += 1


def _turns(reading: Reading, line: int, conversation: dict[str, object]) -> list[tuple[str, str]] | None:
    for name, who, what in _SHAPES:
        turns = conversation.get(name)
        if isinstance(turns, list):
            pairs = [
                (turn[who], turn[what]) for turn in turns if isinstance(turn, dict) and {who, what} <= turn.keys()
            ]
            if len(pairs) == len(turns) and all(isinstance(part, str) for pair in pairs for part in pair):
                return pairs
            reading.wrong(line, name, f"expected turns with the texts '{who}' and '{what}'")
            return None
    reading.wrong(line, None, "expected a list 'conversations' or 'messages'")
    return None
