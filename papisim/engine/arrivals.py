"""Requests from their source to the server that will have them, one at a time, as time passes."""

from __future__ import annotations

from collections.abc import Callable

import simpy
from simpy.events import URGENT

from papisim.engine.process import Process
from papisim.engine.request import Request
from papisim.record.ledger import Ledger
from papisim.record.requests import RequestOutcome
from papisim.workloads import base as workloads

#: called after each request that has ended, with the number of ended requests and the simulated seconds
Progress = Callable[[int, float], None]


class Arrivals:
    """Delivers each request when it arrives, and asks a closed-loop source for the next when one has ended.

    A source is read one request ahead and no further, so it may be endless or as long as a trace of a month.

    Args:
        env: the simulation's clock.
        source: the workload.
        ledger: records arrivals and ends.
        progress: called when requests end.
    """

    def __init__(
        self, env: simpy.Environment, source: workloads.WorkloadSource, ledger: Ledger, progress: Progress
    ) -> None:
        self._env, self._source, self._ledger, self._progress = env, source, ledger, progress
        self._follow = source.follow if isinstance(source, workloads.ClosedLoop) else None
        self._pending = 1  # the source itself, and requests that a source has announced
        self._ended = 0
        self._deliver: Callable[[Request], None] = _undeliverable
        self._closed: Callable[[], None] = _ignore

    @property
    def open(self) -> bool:
        """Whether further requests are known to arrive."""
        return self._pending > 0

    @property
    def may_come(self) -> bool:
        """Whether requests may arrive; in a closed loop one may follow whenever another ends."""
        return self.open or self._follow is not None

    def start(self, deliver: Callable[[Request], None], closed: Callable[[], None]) -> None:
        """Start reading the source.

        Args:
            deliver: called with each request when it arrives.
            closed: called when no further request is known to arrive.
        """
        self._deliver, self._closed = deliver, closed
        self._env.process(self._read())

    def end(self, request: Request, outcome: RequestOutcome, reason: str = "") -> None:
        """End a request and record it; in a closed loop, ask for the one that follows."""
        self._ledger.ended(request.number, request.end(outcome, reason, self._env.now))
        self._ended += 1
        self._progress(self._ended, self._env.now)
        if self._follow is not None:
            asked = workloads.Request(
                request.request_id,
                request.arrival_s,
                request.input_tokens,
                request.output_tokens,
                request.content,
                request.answer,
            )
            following = self._follow(asked, self._env.now)
            if following is not None:
                self._pending += 1
                self._env.process(self._wait_for(following))

    def _read(self) -> Process:
        for asked in self._source:
            if asked.arrival_s > self._env.now:
                yield _first_of_its_time(self._env, asked.arrival_s - self._env.now)
            self._arrive(asked)
        self._close_one()

    def _wait_for(self, asked: workloads.Request) -> Process:
        yield _first_of_its_time(self._env, max(0.0, asked.arrival_s - self._env.now))
        self._arrive(asked)
        self._close_one()

    def _arrive(self, asked: workloads.Request) -> None:
        number = self._ledger.arrived(asked.arrival_s, asked.input_tokens, asked.output_tokens)
        request = Request(asked.request_id, asked.arrival_s, asked.input_tokens, asked.output_tokens, number)
        request.content, request.answer = asked.content, asked.answer
        self._deliver(request)

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


def _undeliverable(request: Request) -> None:
    raise AssertionError(f"request {request.request_id} arrived before a server was there")


def _ignore() -> None:
    """Do nothing."""
