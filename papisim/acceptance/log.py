"""Read logged speculation steps: one request turn a line, JSON."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from papisim.errors import InputError, did_you_mean, one_or_all

FIELDS = ("source", "task", "category", "qid", "turn", "new_tokens", "draft_len", "accepted")
_REQUIRED = ("source", "draft_len", "accepted")
_MAX_ERRORS = 20
_MAX_LENGTH = 2**15 - 1


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
    for number, line in enumerate(_text(Path(path)).splitlines(), start=1):
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


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except FileNotFoundError:
        raise InputError("no such file", file=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", file=str(path)) from None
    except (OSError, EOFError) as error:
        raise InputError(f"may not be read ({error})", file=str(path)) from None


def _turn(line: str, file: str, number: int) -> Turn:
    def wrong(message: str, field: str | None = None) -> InputError:
        return InputError(message, file=file, line=number, field=field)

    try:
        data = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise wrong(f"is not JSON: {getattr(error, 'msg', 'nested too deep')}") from None
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
            raise wrong(f"found {json.dumps(text)[:40]}, expected text", name)
    try:
        accepted = _counts(data["accepted"], "accepted")
        drafted = _drafted(data["draft_len"], len(accepted))
        new_tokens = None if data.get("new_tokens") is None else int(_count(data["new_tokens"], "new_tokens"))
    except InputError as error:
        raise wrong(error.message, error.place.field) from None
    over = np.flatnonzero((accepted > drafted) & (drafted >= 0))
    if over.size:
        step = int(over[0])
        message = f"found {accepted[step]} accepted of {drafted[step]} drafted tokens"
        raise wrong(message, f"accepted[{step}]")
    return Turn(data["source"], task, new_tokens, drafted, accepted)


def _drafted(value: Any, steps: int) -> NDArray[np.int64]:
    if value is None:
        return np.full(steps, -1)
    if not isinstance(value, list):
        return np.full(steps, _count(value, "draft_len"))
    if len(value) != steps:
        message = f"found {len(value)} draft lengths for {steps} steps"
        raise InputError(message, field="draft_len")
    return _counts(value, "draft_len")


def _counts(value: Any, field: str) -> NDArray[np.int64]:
    if not isinstance(value, list) or not value:
        raise InputError("expected a list with one whole number a step", field=field)
    return np.array([_count(entry, f"{field}[{index}]") for index, entry in enumerate(value)], dtype=np.int64)


def _count(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_LENGTH:
        raise InputError(
            f"found {json.dumps(value)[:40]}, expected a whole number from 0 to {_MAX_LENGTH}", field=field
        )
    return value
