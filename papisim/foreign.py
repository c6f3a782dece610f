"""Read what other programs wrote: compressed bytes, JSON, numbers and texts of whatever type they turn out to be.

Every reader of a foreign file uses these, so that a wrong type, NaN, a number of 5,000 digits, a damaged or exploding archive is
one message with a place in each of them.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import re
import select
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, cast

from papisim.errors import InputError, printable

#: a file may unpack to this many times its size; DEFLATE reaches 1,032 on constant bytes, real traces stay below 40
_MOST_RATIO = 150
_WRITER_S = 5  # a program that writes into a pipe opens it within this
_FREE_BYTES = 1 << 24  # small files are unpacked whatever their ratio
_GZIP_MAGIC = b"\x1f\x8b"
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)


_read: ContextVar[dict[Path, None] | None] = ContextVar("read", default=None)


@contextmanager
def recording() -> Iterator[None]:
    """Remember which files are read in the block; see :func:`files_read`."""
    token = _read.set({})
    try:
        yield
    finally:
        _read.reset(token)


def record(path: Path | str) -> None:
    """Remember that a file was read, or that what was read of it earlier is used again."""
    files = _read.get()
    if files is not None:
        files[Path(path).absolute()] = None


def files_read() -> list[Path]:
    """Return the files that were read in the block of :func:`recording`; pipes are none."""
    return [path for path in _read.get() or () if path.is_file()]


@contextmanager
def refusing(file: Path | str, expected: str = "file") -> Iterator[None]:
    """Turn what goes wrong while a file is read into errors of that file.

    Args:
        file: how the file is named in messages.
        expected: what it should have been, as in ``file of requests``.

    Raises:
        InputError: no such file, a folder, damaged compression, not UTF-8, or whatever the system says.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError("no such file", file=str(file)) from None
    except IsADirectoryError:
        raise InputError(f"is a folder, expected a {expected}", file=str(file)) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", file=str(file)) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"may not be read ({reason})", file=str(file)) from None


def open_file(path: Path) -> io.BufferedReader:
    """Open a file for reading, or a pipe once something writes into it.

    Raises:
        InputError: a pipe that no program opened for writing.
        OSError: the file cannot be opened; :func:`refusing` tells it.
    """
    if not stat.S_ISFIFO(path.stat().st_mode):
        record(path)
        return path.open("rb")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not select.select([handle], [], [], _WRITER_S)[0] and not _has_writer(handle):
        os.close(handle)
        raise InputError(f"is a pipe into which nothing was written for {_WRITER_S} s", file=str(path))
    os.set_blocking(handle, True)
    return os.fdopen(handle, "rb")


def _has_writer(handle: int) -> bool:
    """Tell whether a pipe without content is open for writing."""
    try:
        return bool(os.read(handle, 1))
    except BlockingIOError:
        return True


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file, plain or gzipped.

    Raises:
        InputError: while reading: the file unpacks to more than 150 times its size.
        OSError, EOFError, zlib.error: the file cannot be read; :func:`refusing` tells it.
    """
    with open_file(path) as raw:
        if raw.peek(2)[:2] == _GZIP_MAGIC:
            yield cast(BinaryIO, io.BufferedReader(_Unpacked(raw, path)))
        else:
            yield raw


class _Unpacked(io.RawIOBase):
    """The content of a gzipped file, as long as its size is in proportion to the file's."""

    def __init__(self, raw: BinaryIO, path: Path) -> None:
        self._raw, self._path = raw, path
        self._content = gzip.GzipFile(fileobj=raw)
        self._n_bytes = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # any writable buffer, for which there is no type
        """Read into a buffer and return the number of bytes."""
        n_bytes = self._content.readinto(buffer)
        self._n_bytes += n_bytes
        if self._n_bytes > max(_FREE_BYTES, _MOST_RATIO * self._raw.tell()):
            message = f"unpacks to more than {_MOST_RATIO} times its size; unpack it first if that is meant"
            raise InputError(message, file=str(self._path))
        return n_bytes


def read_text(path: Path, expected: str = "file") -> str:
    """Return the text of a file, plain or gzipped.

    Raises:
        InputError: the file cannot be read, is no text, or unpacks out of proportion.
    """
    with refusing(path, expected), open_bytes(path) as file:
        return file.read().decode("utf-8")


def read_json(text: str) -> object:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is no JSON; :func:`json_fault` says why.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text)


#: what reading JSON raises
JSON_FAULTS = (ValueError, RecursionError)


def json_fault(error: Exception) -> str:
    """Return why a text is no JSON that can be read."""
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg}"
    return (
        "is not JSON: nested too deep" if isinstance(error, RecursionError) else "holds a number of too many digits"
    )


def number(value: object, least: float = -math.inf, most: float = math.inf) -> float:
    """Return a finite number: one of JSON, or the text of a cell.

    Raises:
        ValueError: it is none, or out of bounds; says what was expected.
    """
    if isinstance(value, str):
        value = value if len(value) < _LONGEST_NUMBER and _NUMBER.fullmatch(value) else None
    try:
        found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type] # or a TypeError
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not (math.isfinite(found) and least <= found <= most):
        raise ValueError(f"expected a number{_between(least, most)}")
    return found


_LONGEST_NUMBER = 400  # characters; more digits do not fit a float


def whole(value: object, least: int = 0, most: int = 2**31 - 1) -> int:
    """Return a whole number: one of JSON, or the text of a cell, where spreadsheets write 12 as 12.0.

    Raises:
        ValueError: it is none, or out of bounds; says what was expected.
    """
    try:
        found = number(value, least, most)
    except ValueError:
        found = math.nan
    if not found.is_integer():
        raise ValueError(f"expected a whole number{_between(least, most)}")
    return int(found)


def _between(least: float, most: float) -> str:
    if math.isinf(most):
        return "" if math.isinf(least) else f" of at least {least:,g}"
    return f" from {least:,} to {most:,}" if math.isfinite(least) else f" of at most {most:,g}"


def text(value: object) -> str:
    """Return a text of JSON, control characters written as escapes.

    Raises:
        ValueError: it is none; says what was expected.
    """
    if not isinstance(value, str):
        raise ValueError("expected text")
    return printable(value)


def found(value: object) -> str:
    """Return a value as a message quotes it: JSON of at most 40 characters."""
    try:
        return json.dumps(value)[:40]
    except JSON_FAULTS:  # a whole number of thousands of digits, or deep nesting
        return "a value too large to show"
