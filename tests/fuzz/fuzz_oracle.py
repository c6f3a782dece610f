"""Run a command as the command line does, and judge how it ends whatever its input was."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from papisim.cli import main

#: seconds of the processor that a case may take, and of the clock on a machine that has other work
LIMIT_S, PATIENCE_S = 20.0, 120.0
_LONGEST_LINE = 1000
USAGE = 2  # exit status of what is refused


@dataclass
class Case:
    """A call of the command line.

    Attributes:
        kind: of input.
        arguments: of the command; paths are relative to the case's own folder.
        files: by name, what is in that folder before.
        place: what a refusal must name; nothing if empty.
        is_json: whether stdout must be JSON where the command succeeds.
    """

    kind: str
    arguments: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    place: str = ""
    is_json: bool = False


@dataclass
class Verdict:
    """The end of a case: its exit status, and a fault where it ended as no command may."""

    status: int | None
    fault: str = ""
    output: str = ""


class TooLong(BaseException):
    """A case did not end in time."""


def judge(case: Case, folder: Path) -> Verdict:
    """Run a case in a new folder, which is removed, and return how it ended."""
    work, scratch = folder / "work", folder / "tmp"
    for each in (work, scratch):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)
    for name, content in case.files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content)
    verdict = _run(case, work, scratch)
    if not verdict.fault:
        verdict.fault = _told(case, verdict) or _left(case, verdict, work, scratch)
    return verdict


def _run(case: Case, work: Path, scratch: Path) -> Verdict:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    before, tempfile.tempdir = (Path.cwd(), tempfile.tempdir), str(scratch)
    status, fault = None, ""
    try:
        os.chdir(work)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _in_time(), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            main(case.arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except TooLong:
        fault = f"no end in {LIMIT_S:.0f} s"
    except BaseException as error:  # the fault that is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"traceback: {type(error).__name__}: {str(error)[:200]} ({Path(last.filename).name}:{last.lineno})"
    finally:
        os.chdir(before[0])
        tempfile.tempdir = before[1]
    printed, told = (stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))
    if not fault and status == 0 and case.is_json:
        fault = _no_json(printed)
    return Verdict(status, fault, told)


@contextlib.contextmanager
def _in_time():
    def stop(*_):
        raise TooLong

    faulthandler.dump_traceback_later(
        3 * PATIENCE_S, exit=True, file=sys.__stderr__
    )  # deep in C, where no signal is heard
    clocks = ((signal.ITIMER_PROF, signal.SIGPROF, LIMIT_S), (signal.ITIMER_REAL, signal.SIGALRM, PATIENCE_S))
    before = [signal.signal(number, stop) for _, number, _ in clocks]
    for clock, _, limit_s in clocks:
        signal.setitimer(clock, limit_s)
    try:
        yield
    finally:
        for (clock, number, _), handler in zip(clocks, before, strict=True):
            signal.setitimer(clock, 0)
            signal.signal(number, handler)
        faulthandler.cancel_dump_traceback_later()


def _no_json(printed: str) -> str:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        json.loads(printed, parse_constant=refuse)
    except ValueError as error:
        return f"stdout is no JSON: {error}"
    return ""


def _told(case: Case, verdict: Verdict) -> str:
    """Return what is wrong with the exit status and what was said on stderr."""
    if verdict.status not in (0, 1, 2):
        return f"exit status {verdict.status}"
    return _unreadable(verdict.output) or (_refusal(case, verdict) if verdict.status else "")


def _unreadable(told: str) -> str:
    lines = told.splitlines()
    if re.search(r"Traceback|\w(Error|Exception|Warning)\b:", told):
        return "an exception's name on stderr"
    if any(len(line) > _LONGEST_LINE for line in lines):
        return f"a line of {max(map(len, lines))} characters"
    if any(not letter.isprintable() and letter not in "\n\t" for letter in told):
        return "control characters on stderr"
    return ""


def _refusal(case: Case, verdict: Verdict) -> str:
    told = verdict.output
    n_errors = sum(line.startswith(("papisim: error:", "Error:")) for line in told.splitlines())
    if n_errors != 1 and not (verdict.status == 1 and n_errors == 0):
        return f"{n_errors} errors on stderr"
    if case.place and verdict.status == USAGE and case.place not in told:
        return f"the message does not name {case.place}"
    return ""


def _left(case: Case, verdict: Verdict, work: Path, scratch: Path) -> str:
    """Return what is left over, or was changed, that should not be."""
    there = {str(path.relative_to(work)): path for path in work.rglob("*") if not path.is_dir()}
    if any(scratch.iterdir()):
        return f"left in the folder for temporary files: {next(scratch.iterdir()).name}"
    changed = [
        name for name, content in case.files.items() if name not in there or there[name].read_bytes() != content
    ]
    if changed and verdict.status != 0:
        return f"{changed[0]} was changed"
    asked = verdict.status == 0  # an output that was asked for stands under its own name, or below it
    new = [
        name
        for name in there
        if name not in case.files
        and not (asked and any(word.endswith(str(each)) for word in case.arguments for each in _and_folders(name)))
    ]
    return f"left over: {new[0]}" if new else ""


def _and_folders(name: str) -> list[Path]:
    """Return a file and the folders that it is in, below the case's own."""
    return [Path(name), *list(Path(name).parents)[:-1]]
