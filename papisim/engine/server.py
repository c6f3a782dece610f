"""The serving process: one machine, or one group of devices, that serves one stream of requests.

A server is always at one of three things: asleep, in a step, or deciding, which takes no time. To decide, it

1. takes the pages that the next iteration of those who decode needs; whoever came last gives way if there are too few
   (:mod:`papisim.engine.queues`);
2. shows the batching policy who waits and who is there, and admits whom it names;
3. starts the step that the policy asked for (:mod:`papisim.engine.runner`): prompts, a decoding iteration, or both. With
   nothing to do it sleeps until a request arrives, no more will come, or the time that the policy named.

When a step ends, its tokens are emitted and those who have said everything leave; all that at the same instant and before
the next decision.

Events of the same instant come in this order: arrivals, then ends of steps, then decisions. A request that arrives at
the very end of an iteration is seen by the decision that follows it.

Where no decision could change anything, iterations are not simulated one by one. If the speculation policy is steady
(:attr:`papisim.engine.speculation.Speculator.steady_tlp`), a decision to decode without anyone joining holds until the next
event: the first request's end, the KV cache's exhaustion, or an arrival where requests may join those who run and nobody
waits in front. All iterations up to the first two are one step here; an arrival cuts it at the first end of an iteration at
or after it. It is exact: iterations between events differ in the lengths of the caches alone, and attention is priced for
each. ``fast_forward`` off, iterations are single steps, which is the oracle for tests.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from papisim.engine.arrivals import Arrivals
from papisim.engine.faults import Loss, Stall
from papisim.engine.queues import Residents
from papisim.engine.runner import Stepper
from papisim.policies.batching.base import BatchingPolicy, BatchingView
from papisim.policies.routing.base import ReplicaView
from papisim.record.ledger import Outcome, RequestRow

Process = Generator[simpy.Event, Any, None]


class Server:
    """Serves the requests that are submitted to it.

    Args:
        env: the simulation's clock.
        name: of the server.
        residents: where its requests are.
        batching: who joins, and what a step does.
        stepper: runs steps.
        arrivals: where requests come from, and where those go that have ended.
        resources: devices and links without which it cannot go on.

    Attributes:
        name: of the server.
        down: why it serves nobody any more; None while it does.
    """

    def __init__(
        self,
        env: simpy.Environment,
        name: str,
        *,
        residents: Residents,
        batching: BatchingPolicy,
        stepper: Stepper,
        arrivals: Arrivals,
        resources: frozenset[str],
    ) -> None:
        self._env, self.name = env, name
        self._residents, self._batching, self._stepper = residents, batching, stepper
        self._arrivals, self._resources = arrivals, resources
        self._news: simpy.Event | None = None
        self.down: str | None = None
        self._process = env.process(self._serve())

    def submit(self, row: RequestRow) -> None:
        """Take a request that has arrived."""
        row.server = self.name
        if self.down is not None:
            self._end(row, Outcome.FAILED, self.down)
            return
        may_join = self._residents.may_be_joined
        self._residents.arrive(row)
        self._turn_away()
        self.notify()
        if may_join:
            self._stepper.cut(self._process)

    def load(self) -> ReplicaView:
        """Return what a router may see of this server."""
        residents = self._residents
        return ReplicaView(
            waiting=len(residents.waiting),
            admitted=residents.admitted,
            free_kv_tokens=residents.pages.free * residents.pages.page_tokens,
            waiting_prompt_tokens=sum(row.prompt_left for row in residents.waiting),
        )

    def notify(self) -> None:
        """Wake the server if it sleeps."""
        if self._news is not None:
            news, self._news = self._news, None
            news.succeed()

    @property
    def prompt_tokens(self) -> int:
        """Tokens still to be computed of the prompts that have been admitted."""
        return sum(row.prompt_left for row in self._residents.prefilling)

    def let_go(self, row: RequestRow) -> bool:
        """Free what a request holds whose cache has been sent away; False if it was lost before that."""
        if row.outcome is not None:
            return False
        self._residents.sent(row)
        self.notify()
        return True

    def suffer(self, fault: Stall | Loss) -> None:
        """Take what happens to a device or link, if it has a role here."""
        if self.down is not None or fault.resource not in self._resources:
            return
        if isinstance(fault, Stall):
            self._stepper.stall(fault, self._process)
        else:
            self.down = fault.reason
            self._process.interrupt(fault)

    def _serve(self) -> Process:
        try:
            yield from self._work()
        except simpy.Interrupt:  # of a loss; others are dealt with where they come in
            for row in self._residents.drop_all():
                self._end(row, Outcome.FAILED, str(self.down))

    def _work(self) -> Process:
        residents, stepper = self._residents, self._stepper
        while True:
            stepper.make_room()
            self._turn_away()
            plan = self._batching.plan(self._view())
            if plan.admit:
                residents.admit(plan.admit, self._env.now)
            chunks = residents.chunks(plan.prefill)
            decode = plan.decode and len(residents.batch) > 0
            if chunks or decode:
                for row in (yield from stepper.step(chunks, decode=decode)):
                    self._end(row, Outcome.SERVED)
            elif not plan.admit:  # those who were moved back in go on with the next decision
                yield from self._sleep(plan.wake_s)

    def _turn_away(self) -> None:
        for row, reason in self._residents.refused:
            self._end(row, Outcome.REFUSED, reason)
        self._residents.refused.clear()

    def _end(self, row: RequestRow, outcome: Outcome, reason: str = "") -> None:
        self._stepper.forget(row)
        self._arrivals.ended(row, outcome, reason)

    def _sleep(self, wake_s: float | None) -> Process:
        news = self._news = self._env.event()
        if wake_s is None:
            yield news
        else:
            yield news | self._env.timeout(max(0.0, wake_s - self._env.now))
            self._news = None

    def _view(self) -> BatchingView:
        residents = self._residents
        return BatchingView(
            now_s=self._env.now,
            waiting=residents.waiting,
            prefilling=[row.prompt_left for row in residents.prefilling],
            running=len(residents.batch),
            decode_rows=self._stepper.decode_rows,
            more_to_come=self._arrivals.open,
            fitting=residents.fitting,
            iteration_s=self._stepper.iteration_s,
        )
