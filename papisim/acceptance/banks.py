"""Acceptance banks: a row per round, with what the draft model was sure of.

The schema is that of Doubleword's calibration data for speculative decoding (dataset card in doublewordai/inference-lab 299a718):
rounds are keyed by ``model``, ``speculator``, ``config``, ``category``, ``prompt_idx``, ``turn`` and ``round_idx``; ``accept`` is
the number of drafts accepted, ``acc0``, ``acc1``, … tell it position by position and are empty beyond the draft, ``conf0``,
``conf1``, … are the draft model's probabilities of its tokens. The two banks of a run, of acceptance and of confidence, share
the key; here they are one table, as CSV or as JSON lines.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping

from papisim import foreign
from papisim.errors import InputError

_KEY = ("model", "speculator", "config", "category", "prompt_idx", "turn")
#: fields by which a bank is known
SIGNS = ("round_idx", "accept")

Row = Mapping[str, object]


def is_bank(fields: Iterable[str]) -> bool:
    """Tell whether a row or a header with these fields is of a bank."""
    return set(SIGNS) <= set(fields)


def rows_of(text: str) -> list[Row]:
    """Return the rows of a bank written as CSV."""
    return list(csv.DictReader(io.StringIO(text)))


def turns_of(rows: Iterable[Row]) -> list[tuple[dict[str, object], int]]:
    """Return each turn of a bank as the fields of a line of papisim's log, and the number of its first row, from 1.

    Raises:
        InputError: a row whose round or acceptance is no number.
    """
    turns: dict[tuple[str, ...], list[tuple[int, int, Row]]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        key = tuple(str(row.get(name) or "") for name in _KEY)
        turns[key].append((_whole(row, "round_idx", number), number, row))
    return [_turn(key, sorted(rounds, key=lambda each: each[:2])) for key, rounds in turns.items()]


def _turn(key: tuple[str, ...], rounds: list[tuple[int, int, Row]]) -> tuple[dict[str, object], int]:
    model, speculator, config, category, *_ = key
    confidence = [_positions(row, "conf", number) for _, number, row in rounds]
    drafted = [len(_positions(row, "acc", number)) for _, number, row in rounds]
    fields: dict[str, object] = {
        "source": "/".join(part for part in (model, speculator, config) if part) or "bank",
        "task": category,
        "accepted": [_whole(row, "accept", number) for _, number, row in rounds],
        "draft_len": drafted if all(drafted) else None,
    }
    if any(confidence):
        fields["confidence"] = confidence
    return fields, min(number for _, number, _ in rounds)


def _positions(row: Row, name: str, number: int) -> list[float]:
    """Return the values of a round by position, up to the first that is empty."""
    found: list[float] = []
    while (value := row.get(f"{name}{len(found)}")) not in (None, ""):
        try:
            found.append(foreign.number(value, 0, 1))
        except ValueError as error:
            field = f"{name}{len(found)}"
            raise InputError(f"found {foreign.found(value)}, {error}", line=number, field=field) from None
    return found


def _whole(row: Row, name: str, number: int) -> int:
    try:
        return foreign.whole(row.get(name))
    except ValueError as error:
        raise InputError(f"found {foreign.found(row.get(name))}, {error}", line=number, field=name) from None
