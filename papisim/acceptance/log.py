"""Read logged speculation steps: one request turn a line, JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from papisim import foreign
from papisim.errors import InputError, did_you_mean, one_or_all

FIELDS = ("source", "task", "category", "qid", "turn", "new_tokens", "draft_len", "accepted")
_REQUIRED = ("source", "draft_len", "accepted")
_MAX_ERRORS = 20
#: tokens: systems draft a dozen, and fitting takes time with the square of the longest draft
_LONGEST_DRAFT = 1024
_LONGEST_ANSWER = 2**31 - 1


@dataclass(frozen=True)
class Turn:
    """One answer as it was decoded.

    Attributes:
        source: the pair of models and the method.
        task: data set, or "" where the log has none.
        new_tokens: length of the answer, if the log has it.
        drafted: draft length of each step; -1 where the log does not know it.
        accepted: drafted tokens accepted in each step, without the target's own.
    """

    source: str
    task: str
    new_tokens: int | None
    drafted: NDArray[np.int64]
    accepted: NDArray[np.int64]


def read_log(path: Path | str) -> list[Turn]:
    """Read a log, plain or gzipped.

    A line is an object with ``source``, ``accepted`` (a list of whole numbers, one a step) and ``draft_len`` (a whole number
    for all steps, a list with one a step, or null where unknown; the depth for trees), and may have ``task`` and
    ``new_tokens``. Empty lines are skipped.

    Raises:
        InputError, InputErrors: no such file, or lines that are wrong, each with its number and field.
    """
    turns: list[Turn] = []
    errors: list[InputError] = []
    for number, line in enumerate(foreign.read_text(Path(path), "log of steps").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            turns.append(_turn(line, str(path), number))
        except InputError as error:
            errors.append(error)
        if len(errors) == _MAX_ERRORS:
            errors.append(InputError(f"more may be wrong; the first {_MAX_ERRORS} are shown", file=str(path)))
            break
    if errors:
        raise one_or_all(errors)
    if not turns:
        raise InputError("is empty, expected a turn a line as JSON", file=str(path))
    return turns


def _turn(line: str, file: str, number: int) -> Turn:
    def wrong(message: str, field: str | None = None) -> InputError:
        return InputError(message, file=file, line=number, field=field)

    try:
        data = foreign.read_json(line)
    except foreign.JSON_FAULTS as error:
        raise wrong(foreign.json_fault(error)) from None
    if not isinstance(data, dict):
        raise wrong("expected a JSON object")
    for name in _REQUIRED:
        if name not in data:
            near = [key for key in data if key not in FIELDS]
            hint = f"; {did_you_mean(name, near)}" if near else ""
            raise wrong("field is missing" + hint, name)
    task = data.get("task") or ""
    for name, text in (("source", data["source"]), ("task", task)):
        if not isinstance(text, str) or (name == "source" and not text):
            raise wrong(f"found {foreign.found(text)}, expected text", name)
    try:
        accepted = _counts(data["accepted"], "accepted")
        drafted = _drafted(data["draft_len"], len(accepted))
        new_tokens = (
            None if data.get("new_tokens") is None else int(_count(data["new_tokens"], "new_tokens", _LONGEST_ANSWER))
        )
    except InputError as error:
        raise wrong(error.message, error.place.field) from None
    over = np.flatnonzero((accepted > drafted) & (drafted >= 0))
    if over.size:
        step = int(over[0])
        message = f"found {accepted[step]} accepted of {drafted[step]} drafted tokens"
        raise wrong(message, f"accepted[{step}]")
    return Turn(foreign.text(data["source"]), foreign.text(task), new_tokens, drafted, accepted)


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
