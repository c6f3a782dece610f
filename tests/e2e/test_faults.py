"""Signals, pipes, full disks and poor terminals, as they meet the command line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LONG = """\
schema: papisim/sweep/1
description: points that take a while
base: {hw: papi, trace: llama7b, batch: 4}
space: {seed: {range: [0, 4000], step: 1}}
"""
LIST = ("list", "systems")


def start(*arguments, **options):
    command = [sys.executable, "-m", "papisim", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def processes_of(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") == str(folder):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture
def sweeping(tmp_path):
    """A sweep of two workers that has finished points."""
    (tmp_path / "long.yaml").write_text(LONG)
    sweep = start("sweep", "long.yaml", "--out", "o", "--workers", 2, cwd=tmp_path)
    parts = tmp_path / "o" / "parts"
    deadline = time.monotonic() + 60
    while not (parts.is_dir() and any(path.stat().st_size for path in parts.iterdir())):
        assert time.monotonic() < deadline
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.1)
    yield sweep, tmp_path
    sweep.kill()
    sweep.wait()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_a_sweep_that_is_told_to(sweeping, number):
    sweep, folder = sweeping
    sweep.send_signal(number)
    _, error = sweep.communicate(timeout=30)  # returns when no process holds the pipe
    assert processes_of(folder) == []
    if number == signal.SIGTERM:
        assert sweep.returncode == 143
        assert "--out o --resume continues" in error
        assert error.rstrip().endswith("papisim: terminated")
        assert "Traceback" not in error


def test_a_second_writer_is_refused_and_the_first_goes_on(sweeping):
    sweep, folder = sweeping
    for how in ("--resume", "--force"):
        second = start("sweep", "long.yaml", "--out", "o", "--workers", 1, how, cwd=folder)
        _, error = second.communicate(timeout=60)
        assert second.returncode == 2
        assert "is being written by another process" in error
        assert "Traceback" not in error
    assert sweep.poll() is None
    assert any((folder / "o" / "parts").iterdir())


def test_a_run_that_is_told_to_end_leaves_nothing(tmp_path):
    run = start("run", "--hw", "papi", "--trace", "llama7b", "--requests", 10**6, "--metrics", "streaming", "--out",
                "o", "--timeline", "t.json", "--batching", "chunked_prefill", cwd=tmp_path)  # fmt: skip
    deadline = time.monotonic() + 60
    while not any(tmp_path.iterdir()):  # the timeline's temporary file: the run has begun
        assert time.monotonic() < deadline
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    run.terminate()
    _, error = run.communicate(timeout=30)
    assert run.returncode == 143
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_message():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "papisim", *LIST], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "papisim: error: No space left on device\n"


@pytest.mark.parametrize("format_", ["table", "json"])
def test_a_reader_may_close_its_pipe(format_):
    lister = start("list", "--format", format_)
    lister.stdout.close()
    error = lister.stderr.read()
    assert (lister.wait(timeout=60), error) == (0, "")


def test_a_closed_stdout_is_no_error():
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m papisim list systems >&-', sys.executable],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_terminals_without_unicode_show_what_they_can(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "papisim", "run", "--hw", "papi", "--trace", "llama7b", "--batch", "2", "-q"]
    done = subprocess.run(command, check=False, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"tokens/s" in done.stdout


@pytest.mark.parametrize("command", [("run", "--hw", "papi", "--trace", "llama7b", "--batch", "2", "-q"), LIST])
def test_forty_columns_are_enough(command):
    environment = {**os.environ, "COLUMNS": "40", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-m", "papisim", *command],
        check=False,
        capture_output=True,
        env=environment,
        encoding="utf-8",
    )
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 40
