"""Requests from their source to whoever serves them, one at a time, as time goes by."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy
from simpy.events import URGENT

from papisim.record.ledger import Ledger, Outcome, RequestRow
from papisim.workloads.base import ClosedLoop, Request, WorkloadSource

Process = Generator[simpy.Event, Any, None]

#: called after each request that has ended, with how many have and the seconds simulated
Progress = Callable[[int, float], None]


class Arrivals:
    """Hands each request over when it arrives, and asks a closed-loop source for the next when one has ended.

    A source is read one request ahead and no further, so it may be endless or as long as a trace of a month.

    Args:
        env: the simulation's clock.
        source: who asks.
        ledger: where requests are written down.
        progress: told when requests end.

    """

    def __init__(self, env: simpy.Environment, source: WorkloadSource, ledger: Ledger, progress: Progress) -> None:
        self._env, self._source, self._ledger, self._progress = env, source, ledger, progress
        self._follow = source.follow if isinstance(source, ClosedLoop) else None
        self._pending = 1  # the source itself, and requests that a source has said will follow
        self._ended = 0
        self._deliver: Callable[[RequestRow], None] = _nobody
        self._closed: Callable[[], None] = _nothing

    @property
    def open(self) -> bool:
        """Whether requests are known to be still to come."""
        return self._pending > 0

    @property
    def may_come(self) -> bool:
        """Whether requests may arrive; in a closed loop one may follow whenever another ends."""
        return self.open or self._follow is not None

    def to(self, deliver: Callable[[RequestRow], None], closed: Callable[[], None]) -> None:
        """Start.

        Args:
            deliver: called with each request when it arrives.
            closed: called when none will come any more, as far as is known.
        """
        self._deliver, self._closed = deliver, closed
        self._env.process(self._read())

    def ended(self, row: RequestRow, outcome: Outcome, reason: str = "") -> None:
        """Write down that a request has ended, and how."""
        self._ledger.ended(row, outcome, reason, self._env.now)
        self._ended += 1
        self._progress(self._ended, self._env.now)
        if self._follow is not None:
            asked = Request(row.request_id, row.arrival_s, row.input_tokens, row.output_tokens)
            following = self._follow(asked, self._env.now)
            if following is not None:
                self._pending += 1
                self._env.process(self._wait_for(following))

    def _read(self) -> Process:
        for request in self._source:
            if request.arrival_s > self._env.now:
                yield _first_of_its_time(self._env, request.arrival_s - self._env.now)
            self._arrive(request)
        self._close_one()

    def _wait_for(self, request: Request) -> Process:
        yield _first_of_its_time(self._env, max(0.0, request.arrival_s - self._env.now))
        self._arrive(request)
        self._close_one()

    def _arrive(self, request: Request) -> None:
        row = RequestRow(request.request_id, request.arrival_s, request.input_tokens, request.output_tokens)
        self._ledger.arrived(row)
        self._deliver(row)

    def _close_one(self) -> None:
        self._pending -= 1
        if not self._pending:
            self._closed()


def _first_of_its_time(env: simpy.Environment, delay_s: float) -> simpy.Event:
    """Return a time-out that comes before all others of the same time."""
    event = simpy.Event(env)
    event._ok, event._value = True, None  # as simpy.Timeout does, which has no priority to choose
    env.schedule(event, URGENT, delay_s)
    return event


def _nobody(row: RequestRow) -> None:
    raise AssertionError(f"request {row.request_id} arrived before anyone was there to serve it")


def _nothing() -> None:
    """Do nothing."""
