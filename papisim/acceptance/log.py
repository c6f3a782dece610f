"""Read logged speculation steps: papisim's own log, records of serving engines, and acceptance banks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from papisim import foreign
from papisim.acceptance import banks
from papisim.acceptance.formats import Record, fields_of
from papisim.errors import InputError, did_you_mean, one_or_all

FIELDS = ("source", "task", "category", "qid", "turn", "new_tokens", "draft_len", "accepted", "confidence")
_REQUIRED = ("source", "draft_len", "accepted")
_MAX_ERRORS = 20
#: tokens: systems draft a dozen, and fitting takes time with the square of the longest draft
_LONGEST_DRAFT = 1024
_LONGEST_ANSWER = 2**31 - 1
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Turn:
    """One answer as it was decoded.

    Attributes:
        source: the pair of models and the method.
        task: data set, or "" where the log has none.
        new_tokens: length of the answer, if the log has it.
        drafted: draft length of each step; -1 where the log does not know it.
        accepted: drafted tokens accepted in each step, without the target's own.
        confidence: of each step, the draft model's probability of its token at each position; empty where the log has none.
        ordered: whether the steps are in the order in which they were made.
    """

    source: str
    task: str
    new_tokens: int | None
    drafted: NDArray[np.int64]
    accepted: NDArray[np.int64]
    confidence: tuple[tuple[float, ...], ...] = ()
    ordered: bool = True


def read_log(path: Path | str) -> list[Turn]:
    """Read a log, plain or gzipped.

    A line of papisim's own log is an object with ``source``, ``accepted`` (a list of whole numbers, one per step) and ``draft_len``
    (a whole number for all steps, a list with one per step, or null where unknown; the depth for trees), and may have ``task``,
    ``new_tokens`` and ``confidence`` (a list per step of the draft model's probabilities, by position). Empty lines are skipped.

    Lines may also be records of serving engines (:mod:`papisim.acceptance.formats`), and a file an acceptance bank
    (:mod:`papisim.acceptance.banks`) or one JSON list of records.

    Raises:
        InputError, InputErrors: no such file, or lines that are wrong, each with its number and field.
    """
    turns: list[Turn] = []
    errors: list[InputError] = []
    for number, parse in _entries(_text(Path(path))):
        try:
            turns.append(parse())
        except InputError as error:
            place = error.place
            errors.append(InputError(error.message, file=str(path), line=place.line or number, field=place.field))
        if len(errors) == _MAX_ERRORS:
            errors.append(InputError(f"more may be wrong; the first {_MAX_ERRORS} are shown", file=str(path)))
            break
    if errors:
        raise one_or_all(errors)
    if not turns:
        raise InputError("is empty, expected a turn a line as JSON", file=str(path))
    return turns


def _text(path: Path) -> str:
    with foreign.refusing(path, "log of steps"), foreign.open_bytes(path) as file:
        if file.read(len(_PARQUET)) == _PARQUET:
            raise InputError("is Parquet, which papisim does not read; write it as CSV or JSON lines", file=str(path))
    return foreign.read_text(path, "log of steps")


def _entries(text: str) -> Iterator[tuple[int, Callable[[], Turn]]]:
    """Yield the number of each turn's line, and what returns the turn."""
    header = text.partition("\n")[0].strip()
    if banks.is_bank(header.split(",")):
        for fields, row in banks.turns_of(banks.rows_of(text)):
            yield row + 1, partial(_turn, fields)
        return
    lines = [
        (number, partial(_object, line)) for number, line in enumerate(text.splitlines(), start=1) if line.strip()
    ]
    if lines and _is_bank_row(header):
        for fields, row in banks.turns_of(read() for _, read in lines):
            yield lines[row - 1][0], partial(_turn, fields)
        return
    for number, read in _listed(text) or lines:
        yield number, partial(_record, read)


def _is_bank_row(line: str) -> bool:
    try:
        return banks.is_bank(_object(line))
    except InputError:
        return False


def _listed(text: str) -> list[tuple[int, Callable[[], Record]]]:
    """Return the objects of a text that is one JSON list, numbered; nothing if it is none."""
    if not text.lstrip().startswith("["):
        return []
    try:
        found = foreign.read_json(text)
    except foreign.JSON_FAULTS:
        return []
    objects = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    return [(number, partial(dict, each)) for number, each in enumerate(objects, start=1)]


def _record(read: Callable[[], Record]) -> Turn:
    """Return the turn of a line: one of papisim's own log, or a record of a serving engine."""
    data = read()
    if "accepted" in data and "draft_len" in data:
        return _turn(data)
    found = fields_of(data)
    return _turn(data) if found is None else _turn(found, ordered=bool(found["ordered"]))


def _object(line: str) -> Record:
    try:
        data = foreign.read_json(line)
    except foreign.JSON_FAULTS as error:
        raise InputError(foreign.json_fault(error)) from None
    if not isinstance(data, dict):
        raise InputError("expected a JSON object")
    return data


def _turn(data: Record, *, ordered: bool = True) -> Turn:
    for name in _REQUIRED:
        if name not in data:
            near = [key for key in data if key not in FIELDS]
            hint = f"; {did_you_mean(name, near)}" if near else ""
            raise InputError("field is missing" + hint, field=name)
    task = data.get("task") or ""
    for name, text in (("source", data["source"]), ("task", task)):
        if not isinstance(text, str) or (name == "source" and not text):
            raise InputError(f"found {foreign.found(text)}, expected text", field=name)
    accepted = _counts(data["accepted"], "accepted")
    drafted = _drafted(data["draft_len"], len(accepted))
    tokens = data.get("new_tokens")
    new_tokens = None if tokens is None else _count(tokens, "new_tokens", _LONGEST_ANSWER)
    over = np.flatnonzero((accepted > drafted) & (drafted >= 0))
    if over.size:
        step = int(over[0])
        message = f"found {accepted[step]} accepted of {drafted[step]} drafted tokens"
        raise InputError(message, field=f"accepted[{step}]")
    confidence = _confidence(data.get("confidence"), len(accepted))
    return Turn(
        foreign.text(data["source"]), foreign.text(task), new_tokens, drafted, accepted, confidence, ordered=ordered
    )


def _confidence(value: object, steps: int) -> tuple[tuple[float, ...], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) != steps or not all(isinstance(step, list) for step in value):
        raise InputError(f"expected a list of probabilities for each of the {steps} steps", field="confidence")
    return tuple(
        tuple(_probability(each, f"confidence[{step}]") for each in found) for step, found in enumerate(value)
    )


def _probability(value: object, field: str) -> float:
    try:
        return foreign.number(value, 0, 1)
    except ValueError as error:
        raise InputError(f"found {foreign.found(value)}, {error}", field=field) from None


def _drafted(value: object, steps: int) -> NDArray[np.int64]:
    if value is None:
        return np.full(steps, -1)
    if not isinstance(value, list):
        return np.full(steps, _count(value, "draft_len"))
    if len(value) != steps:
        message = f"found {len(value)} draft lengths for {steps} steps"
        raise InputError(message, field="draft_len")
    return _counts(value, "draft_len")


def _counts(value: object, field: str) -> NDArray[np.int64]:
    if not isinstance(value, list) or not value:
        raise InputError("expected a list with one whole number a step", field=field)
    return np.array([_count(entry, f"{field}[{index}]") for index, entry in enumerate(value)], dtype=np.int64)


def _count(value: object, field: str, most: int = _LONGEST_DRAFT) -> int:
    try:
        if isinstance(value, str):
            raise ValueError(f"expected a whole number from 0 to {most:,}")
        return foreign.whole(value, most=most)
    except ValueError as error:
        raise InputError(f"found {foreign.found(value)}, {error}", field=field) from None
