"""The text of a file, plain or gzipped, a piece at a time."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from papisim.config.yaml import while_unchanged
from papisim.errors import InputError

_HEAD = 1 << 16
PIECE = 1 << 20


@while_unchanged
def _sha256(path: Path | str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TextFile:
    """A file of UTF-8 text.

    Every method raises InputError where the file cannot be read or is not UTF-8.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    def head(self) -> str:
        """Return the first characters."""
        with self._open() as file:
            return file.read(_HEAD)

    def lines(self) -> Iterator[str]:
        """Yield line after line, their ends included."""
        with self._open() as file:
            yield from file

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces of :data:`PIECE` characters."""
        with self._open() as file:
            while piece := file.read(PIECE):
                yield piece

    def sha256(self) -> str:
        """Return the SHA-256 of the file's bytes, as they are on disk."""
        with self._refusing():
            return _sha256(self.path)

    @contextmanager
    def _open(self) -> Iterator[io.TextIOWrapper]:
        with self._refusing(), self.path.open("rb") as raw:
            zipped = raw.peek(2)[:2] == b"\x1f\x8b"
            inner = gzip.GzipFile(fileobj=raw) if zipped else raw
            # utf-8-sig: spreadsheets begin their CSV with a byte order mark
            yield io.TextIOWrapper(inner, encoding="utf-8-sig", newline="")

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise InputError("no such file", file=str(self)) from None
        except IsADirectoryError:
            raise InputError("is a folder, expected a file of requests", file=str(self)) from None
        except UnicodeDecodeError:
            raise InputError("is not UTF-8 text", file=str(self)) from None
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"may not be read ({getattr(error, 'strerror', None) or error})", file=str(self)
            ) from None
