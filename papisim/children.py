"""Child processes that end with their parent, however the parent ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait

from papisim.errors import PapisimError


@contextmanager
def pool(count: int, method: str | None = None) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes; leaving the block ends them, whatever they are computing.

    A killed parent runs no clean-up, so each child also watches its parent and exits when the parent is gone.

    Args:
        count: number of processes.
        method: how :mod:`multiprocessing` starts them; the platform's default if None.

    Raises:
        PapisimError: a process died.
    """
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(count, multiprocessing.get_context(method), begin)
    try:
        yield executor
    except BrokenProcessPool:
        raise PapisimError("a worker process died, perhaps for want of memory") from None
    finally:
        ours = set(multiprocessing.active_children()) - others
        executor.shutdown(wait=False, cancel_futures=True)
        for process in ours:
            process.kill()


def begin() -> None:
    """Prepare a child process: interrupts are the parent's to handle, and the child exits when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()


def _exit_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # the main thread may be deep in a computation, and no reader is left for its result
