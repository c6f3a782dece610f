"""What ends a command from outside: signals, closed pipes, full disks, terminals without Unicode."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import click

from papisim.errors import PapisimError, printable, shortened

#: seconds after which a command that was told to end and goes on is told again
_AGAIN_S = 0.2
#: signals that tell a command to end
_TELLING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGALRM") if hasattr(signal, name))
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM

#: what stands for characters that a terminal's encoding lacks; a question mark stands for all others
_PLAIN = {
    "—": "-", "–": "-", "−": "-", "·": "|", "×": "x", "±": "+-", "…": "...", "“": '"', "”": '"', "’": "'", "→": "->",
    "µ": "u", "α": "alpha", "²": "2", "₁": "1", "₂": "2", "≤": "<=", "≥": ">=", "▁": "_", "▂": "_", "▃": ".", "▄": "-",
    "▅": "-", "▆": "=", "▇": "=", "█": "#",
}  # fmt: skip


class Terminated(BaseException):
    """The process was told to end by SIGTERM."""


class ReaderGone(Exception):
    """The reader of the pipe that stdout is has closed it, having seen enough."""


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise :class:`Terminated` in the block, so that files, workers and messages end in order.

    Compiled modules drop what is raised while they are imported, so it is raised again until clean-up has begun. Clean-up
    itself is never interrupted.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        if not _is_cleaning_up():
            _tell_in(_AGAIN_S)
            raise Terminated

    before = {number: signal.signal(number, stop) for number in _TELLING}
    try:
        yield
    finally:
        _stop_telling()
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_telling() -> None:
    _tell_in(0.0)
    for number in _TELLING:
        signal.signal(number, signal.SIG_IGN)


def _tell_in(seconds: float) -> None:
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _is_cleaning_up() -> bool:
    """Tell whether :class:`Terminated`, or what it led to, is being handled."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, Terminated):
        error = error.__context__
    return error is not None


def prepare_streams() -> None:
    """Make stdout and stderr take any text: where one is closed, or its encoding lacks a character."""
    codecs.register_error("papisim", _in_plain_characters)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller, as with `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - lives as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="papisim")


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in found), error.end


def finish_streams(status: int) -> int:
    """Write what is buffered for stdout, and return the exit status, which is another where that cannot be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        return status or stopped_by(error)
    return status


def _discard_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's own flush at its end does not fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


#: what may end a command with one message; anything else is a fault of the program and keeps its traceback
STOPPING = (click.exceptions.Abort, click.ClickException, MemoryError, OSError, PapisimError, ReaderGone, Terminated)


def stopped_by(error: BaseException) -> int:
    """Tell on stderr why a command ends, and return its exit status."""
    status = PapisimError.exit_status
    match error:
        case ReaderGone():
            return 0
        case click.ClickException():
            shown = io.StringIO()
            error.show(file=shown)
            lines = map(shortened, printable(shown.getvalue()).splitlines())
            click.echo("\n".join(lines), err=True)
            return error.exit_code
        case click.exceptions.Abort():
            why, status = "interrupted", INTERRUPTED
        case Terminated():
            _stop_telling()
            why, status = "terminated", TERMINATED
        case MemoryError():
            why = "error: out of memory"
        case OSError():
            why = f"error: {_in_words(error)}"
        case PapisimError():
            why, status = f"error: {printable(str(error))}", error.exit_status
        case _:
            raise error
    with suppress(OSError, ValueError):  # stderr may be gone as well
        click.echo(f"papisim: {why}", err=True)
    return status


def _in_words(error: OSError) -> str:
    """Return the operation that the system refused, and its file."""
    reason = error.strerror or str(error) or type(error).__name__
    return printable(f"{error.filename}: {reason}" if error.filename is not None else reason)
