"""The text of a file, plain or gzipped, a piece at a time."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from papisim import foreign
from papisim.config.yaml import while_unchanged

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
        with foreign.refusing(self.path, "file of requests"):
            return _sha256(self.path)

    @contextmanager
    def _open(self) -> Iterator[io.TextIOWrapper]:
        with foreign.refusing(self.path, "file of requests"), foreign.open_bytes(self.path) as inner:
            # utf-8-sig: spreadsheets begin their CSV with a byte order mark
            yield io.TextIOWrapper(inner, encoding="utf-8-sig", newline="")
