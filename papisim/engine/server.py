"""The serving process: one machine, or one group of devices, that serves one stream of requests.

A server is always in one of three situations: asleep, in a step, or deciding, which takes no time. To decide, it

1. allocates the pages that the next decoding iteration needs; the most recently admitted request is preempted if they are
   too few (:mod:`papisim.engine.queues`);
2. shows the batching policy the waiting and the admitted requests, and admits those that it names;
3. starts the step that the policy asked for (:mod:`papisim.engine.runner`): prompts, a decoding iteration, or both. With
   nothing to do it sleeps until a request arrives, none will arrive any more, or the time that the policy named.

A client that gives a request up (``timeout_s`` of the workload) has it cancelled at the next decision; a stretch of iterations is
truncated for that.

When a step ends, its tokens are emitted and complete requests leave the batch, at the same instant and before the next
decision.

Events of the same instant come in this order: arrivals, then ends of steps, then decisions. A request that arrives at
the very end of an iteration is seen by the decision that follows it.

Where no decision could change anything, iterations are not simulated one by one. If the speculation policy is steady
(:attr:`papisim.engine.speculation.Speculator.steady_tlp`), a decision to decode without a request joining holds until the next
event: the first complete request, the exhaustion of the KV cache, or an arrival where requests may join the batch and none
waits in front. All iterations up to the first two are one step here; an arrival truncates it at the first end of an iteration
at or after it. It is exact: iterations between events differ in the lengths of the caches alone, and attention is priced for
each. With ``fast_forward`` off, iterations are single steps, which is the oracle for tests.

An engine whose host prepares a step while the one before runs (:attr:`papisim.engine.host.Host.looks_ahead`) decides by what it
knew when that one began: a request that has arrived since joins one step later, and the place of one that has just completed is
still taken. Where nothing is left to do but for that, the host has nothing to prepare ahead, and decides by what it knows now.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import simpy

from papisim.engine.arrivals import Arrivals
from papisim.engine.faults import Loss, Stall
from papisim.engine.process import Process
from papisim.engine.queues import ServerQueues, WaitingView
from papisim.engine.request import Request, RequestState
from papisim.engine.runner import StepRunner
from papisim.policies.batching.base import BatchingPolicy, BatchingView, StepPlan
from papisim.policies.routing.base import ReplicaView
from papisim.record.requests import RequestOutcome


class _Lag(NamedTuple):
    """What the host does not know yet of the step that runs: requests that have arrived, and places that have become free."""

    arrived: int = 0
    freed: int = 0


class Server:
    """Serves the requests that are submitted to it.

    Args:
        env: the simulation's clock.
        name: name of the server.
        queues: its requests.
        batching: the batching policy.
        runner: runs steps.
        arrivals: where requests come from, and where ended requests go.
        resources: devices and links that it needs.
        timeout_s: time from its arrival after which a request is given up; None: never.

    Attributes:
        name: name of the server.
        down: why it serves no request any more; None while it does.
    """

    def __init__(
        self,
        env: simpy.Environment,
        name: str,
        *,
        queues: ServerQueues,
        batching: BatchingPolicy,
        runner: StepRunner,
        arrivals: Arrivals,
        resources: frozenset[str],
        timeout_s: float | None = None,
    ) -> None:
        self._env, self.name = env, name
        self._queues, self._batching, self._runner = queues, batching, runner
        self._arrivals, self._resources, self._timeout_s = arrivals, resources, timeout_s
        self._given_up: list[Request] = []
        self._arrived_s: deque[float] = deque()
        self._freed = 0
        self._wakeup: simpy.Event | None = None
        self.down: str | None = None
        self._process = env.process(self._serve())

    def submit(self, request: Request) -> None:
        """Take a request that has arrived."""
        request.server = self.name
        if self.down is not None:
            self._end(request, RequestOutcome.FAILED, self.down)
            return
        may_join = self._queues.may_be_joined
        self._queues.enqueue(request)
        if self._runner.looks_ahead:
            self._arrived_s.append(self._env.now)
        self._refuse()
        self.notify()
        if may_join:
            self._runner.truncate(self._process)
        if self._timeout_s is not None:
            self._env.process(self._wait_for_end(request, request.arrival_s + self._timeout_s))

    def load(self, request: Request | None = None) -> ReplicaView:
        """Return a router's view of this server, when it is to decide on a request."""
        queues = self._queues
        return ReplicaView(
            waiting=len(queues.waiting),
            admitted=queues.admitted,
            free_kv_tokens=queues.pages.free * queues.pages.page_tokens,
            waiting_prompt_tokens=sum(each.prompt_left for each in queues.waiting),
            cached_prompt_tokens=0 if request is None else queues.pages.cached_tokens(request),
        )

    def notify(self) -> None:
        """Wake the server if it sleeps."""
        if self._wakeup is not None:
            wakeup, self._wakeup = self._wakeup, None
            wakeup.succeed()

    @property
    def prompt_tokens(self) -> int:
        """Tokens still to be computed of admitted prompts."""
        return sum(request.prompt_left for request in self._queues.prefilling)

    def release(self, request: Request) -> bool:
        """Free the pages of a request whose cache has been sent away; False if the request was lost before that."""
        if request.state is RequestState.ENDED:
            return False
        self._queues.release(request)
        self.notify()
        return True

    def apply_fault(self, fault: Stall | Loss) -> None:
        """Suffer the fault of a device or link, if it has a role here."""
        if self.down is not None or fault.resource not in self._resources:
            return
        if isinstance(fault, Stall):
            self._runner.stall(fault, self._process)
        else:
            self.down = fault.reason
            self._process.interrupt(fault)

    def _wait_for_end(self, request: Request, until_s: float) -> Process:
        """Give a request up at a time if it has not ended by then, here or at the server that has it now."""
        yield self._env.timeout(max(0.0, until_s - self._env.now))
        is_elsewhere = request.server != self.name or request.state is RequestState.LEAVING
        if request.state is not RequestState.ENDED and not is_elsewhere:
            self._given_up.append(request)
            self.notify()
            self._runner.truncate(self._process)

    def _serve(self) -> Process:
        try:
            yield from self._work()
        except simpy.Interrupt:  # of a loss; the clock of steps handles all others
            for request in self._queues.drop_all():
                self._end(request, RequestOutcome.FAILED, str(self.down))

    def _work(self) -> Process:
        queues, runner = self._queues, self._runner
        while True:
            self._cancel()
            runner.reserve_pages()
            self._refuse()
            lag = self._lag()
            plan = self._plan(lag)
            if plan.admit:
                queues.admit(plan.admit, self._env.now)
            chunks = queues.chunks(plan.prefill)
            decode = plan.decode and len(queues.batch) > 0
            if chunks or decode:
                is_alone = lag.arrived > 0 or (lag.freed > 0 and len(queues.waiting) > 0)
                complete = yield from runner.step(chunks, decode=decode, is_alone=is_alone)
                self._freed = len(complete)
                for request in complete:
                    self._end_complete(request)
            elif not plan.admit:  # requests whose caches were moved back decode after the next decision
                yield from self._sleep(plan.wake_s)

    def _lag(self) -> _Lag:
        """Return the events that the host did not know of when it prepared the step that begins now."""
        if not self._runner.looks_ahead:
            return _Lag()
        while self._arrived_s and self._arrived_s[0] <= self._runner.last_began_s:
            self._arrived_s.popleft()
        freed = self._freed if self._batching.joins_running else 0
        return _Lag(min(len(self._arrived_s), len(self._queues.waiting)), freed)

    def _plan(self, lag: _Lag) -> StepPlan:
        plan = self._batching.plan(self._view(lag))
        is_idle = not (plan.admit or any(plan.prefill) or (plan.decode and len(self._queues.batch)))
        return self._batching.plan(self._view(_Lag())) if is_idle and any(lag) else plan

    def _end_complete(self, request: Request) -> None:
        if request in self._given_up:
            self._end(request, RequestOutcome.TIMED_OUT, self._reason)
        else:
            self._end(request, RequestOutcome.SERVED)

    def _cancel(self) -> None:
        """End the requests that have been given up since the last decision."""
        requests = [request for request in self._given_up if request.state is not RequestState.ENDED]
        self._given_up.clear()
        if requests:
            self._queues.drop(requests)
        for request in requests:
            self._end(request, RequestOutcome.TIMED_OUT, self._reason)

    @property
    def _reason(self) -> str:
        return f"given up after {self._timeout_s:g} s"

    def _refuse(self) -> None:
        for request, reason in self._queues.refused:
            self._end(request, RequestOutcome.REFUSED, reason)
        self._queues.refused.clear()

    def _end(self, request: Request, outcome: RequestOutcome, reason: str = "") -> None:
        self._runner.forget(request)
        self._arrivals.end(request, outcome, reason)

    def _sleep(self, wake_s: float | None) -> Process:
        self._freed = 0
        wakeup = self._wakeup = self._env.event()
        if wake_s is None:
            yield wakeup
        else:
            yield wakeup | self._env.timeout(max(0.0, wake_s - self._env.now))
            self._wakeup = None

    def _view(self, lag: _Lag) -> BatchingView:
        queues = self._queues
        return BatchingView(
            now_s=self._env.now,
            waiting=WaitingView(queues.waiting, len(queues.waiting) - lag.arrived, queues.pages.prompt_left),
            prefilling=tuple(request.prompt_left for request in queues.prefilling),
            running=len(queues.batch) + lag.freed,
            decode_rows=self._runner.decode_rows,
            more_to_come=self._arrivals.open or lag.arrived > 0,
            fitting=queues.fitting,
            iteration_s=self._runner.iteration_s,
        )
