"""Progress of many points: a bar where a person is looking, a line now and then where a log is kept."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

#: seconds between lines in a log
_LINE_EVERY_S = 10.0


@contextmanager
def point_progress(total: int, label: str, *, quiet: bool) -> Iterator[Callable[[Counter[str]], None]]:
    """Show on stderr how many points are done, at what rate, and the time left; yields what to call with each result."""
    from rich.console import Console  # noqa: PLC0415 - start-up time

    console = Console(stderr=True)
    if quiet:
        yield lambda tally: None
    elif console.is_terminal:
        with _bar(console, total, label) as advance:
            yield advance
    else:
        yield _Lines(total, label).advance


@contextmanager
def _bar(console: object, total: int, label: str) -> Iterator[Callable[[Counter[str]], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    rate = TextColumn("{task.fields[rate]}")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
    start = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:  # type: ignore[arg-type] # a console
        task = bar.add_task(label, total=total, rate="")
        seen: Counter[str] = Counter()

        def advance(tally: Counter[str]) -> None:
            seen.update(tally)
            done = n_points(seen)
            bar.update(task, completed=done, rate=f"{done / max(time.monotonic() - start, 1e-9):,.1f} points/s")

        yield advance


class _Lines:
    """Writes a line every few seconds."""

    def __init__(self, total: int, label: str) -> None:
        self._total, self._label = total, label
        self._start = self._last = time.monotonic()
        self._seen: Counter[str] = Counter()

    def advance(self, tally: Counter[str]) -> None:
        """Count points, and write a line when it is time for one."""
        self._seen.update(tally)
        now, done = time.monotonic(), n_points(self._seen)
        if now - self._last < _LINE_EVERY_S or not done:
            return
        self._last = now
        rate = done / (now - self._start)
        left_s = (self._total - done) / rate
        click.echo(
            f"papisim: {self._label}: {done:,} of {self._total:,} points, {rate:,.1f} points/s, "
            f"{left_s // 60:.0f} min {left_s % 60:.0f} s left",
            err=True,
        )


def n_points(tally: Counter[str]) -> int:
    """Return how many points a tally counts."""
    return sum(count for status, count in tally.items() if status != "reused")
