"""One writer at a time in a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from papisim.errors import InputError

try:
    import fcntl
except ImportError:  # a platform without advisory locks
    fcntl = None  # type: ignore[assignment]


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder while the block writes into it.

    The lock is on the folder itself: no file is left behind, and the system drops the lock however the process ends. Where the
    platform or the file system has no such locks, nothing is held.

    Raises:
        InputError: another process is writing there.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                message = (
                    f"--out {folder} is being written by another process; wait for its end or choose another folder"
                )
                raise InputError(message) from None
        yield
    finally:
        os.close(handle)
