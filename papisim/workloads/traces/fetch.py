"""Download a file into a cache: whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from papisim.errors import InputError
from papisim.workloads.traces.text import TextFile

_PIECE = 1 << 18
_TIMEOUT_S = 60.0  # without a byte
_MOST_S = 4 * 3600.0
#: the largest public trace has a twentieth of this
MOST_BYTES = 1 << 32

#: told of the bytes that have come and of all that will, where the server says
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Fetched:
    """A file in the cache; ``trusted`` says why its bytes are taken for the right ones."""

    path: Path
    sha256: str
    trusted: str
    downloaded: bool


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str | None,
    most_bytes: int = MOST_BYTES,
    again: bool = False,
    progress: Progress | None = None,
) -> Fetched:
    """Make a file be in the cache.

    A file without a known checksum is trusted when it comes first; what it was is written beside it, and any other is refused from
    then on.

    Args:
        url: where the file is, by HTTP or HTTPS.
        path: where it goes.
        sha256: hash of its bytes, if known.
        most_bytes: largest size that is downloaded.
        again: download it even if it is there.
        progress: told as bytes come.

    Raises:
        InputError: the URL is no web address, the file cannot be had or kept, or it is not the one expected; nothing is then kept.
    """
    record = path.with_name(path.name + ".sha256")
    known = sha256 or _recorded(record)
    why = "as the catalogue has it" if sha256 else f"as it first came ({record.name})"
    if path.is_file() and not again:
        found = TextFile(path).sha256()
        if known is None:
            record.write_text(found + "\n", encoding="ascii")
        elif found != known:
            raise InputError(
                f"found the SHA-256 {found}, expected {known} {why}; download it --again", file=str(path)
            )
        return Fetched(path, found, why, downloaded=False)
    found = _download(url, path, known, why, most_bytes=most_bytes, progress=progress)
    record.write_text(found + "\n", encoding="ascii")
    return Fetched(path, found, why if known else "no hash is known for it: trusted as it came", downloaded=True)


def _recorded(record: Path) -> str | None:
    try:
        return record.read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def _download(
    url: str, path: Path, known: str | None, why: str, *, most_bytes: int, progress: Progress | None
) -> str:
    if not url.startswith(("http://", "https://")):
        raise InputError(f"found the URL '{url}', expected one that begins with https:// or http://")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise InputError(f"cannot be kept: {error.strerror}; choose another --cache", file=str(path)) from None
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            found = _copy(url, file.write, most_bytes, progress)
        if known is not None and found != known:
            raise InputError(
                f"{url} has the SHA-256 {found}, expected {known} {why}; nothing is kept. If its publishers have changed the file and "
                f"you trust it, add --sha256 {found}"
            )
        part.chmod(0o644)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return found


def _web() -> urllib.request.OpenerDirector:
    """Return an opener of web addresses alone, wherever a server redirects to."""
    web = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        web.add_handler(handler())
    return web


def _copy(url: str, write: Callable[[bytes], object], most_bytes: int, progress: Progress | None) -> str:
    digest, n_bytes, end = hashlib.sha256(), 0, time.monotonic() + _MOST_S
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "papisim"})
        with _web().open(request, timeout=_TIMEOUT_S) as answer:
            length = answer.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            while piece := answer.read(_PIECE):
                write(piece)
                digest.update(piece)
                n_bytes += len(piece)
                if n_bytes > most_bytes:
                    raise InputError(f"{url} is larger than the {most_bytes:,} bytes expected; nothing is kept")
                if time.monotonic() > end:
                    raise InputError(f"{url} has not come in {_MOST_S / 3600:g} hours; nothing is kept")
                if progress is not None:
                    progress(n_bytes, total)
    except urllib.error.HTTPError as error:
        raise InputError(
            f"{url} cannot be had: the server says {error.code} {error.reason}; try --url or --mirror"
        ) from None
    except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that is none
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{url} cannot be had: {reason}; try --url or --mirror") from None
    if total is not None and n_bytes != total:
        raise InputError(f"{url} broke off after {n_bytes:,} of {total:,} bytes; nothing is kept")
    return digest.hexdigest()
