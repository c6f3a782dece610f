"""The steps of a server: prompts, decoding iterations, and stretches of many iterations at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simpy

from papisim.arrays import Floats
from papisim.engine.boards import Boards
from papisim.engine.clock import StepClock
from papisim.engine.faults import Stall
from papisim.engine.host import Host, StepSize
from papisim.engine.iterations import Iteration, IterationStrategy, Stretch, accept_all, longest_iteration_s
from papisim.engine.log import StepLog
from papisim.engine.process import Timed
from papisim.engine.queues import Chunk, ServerQueues
from papisim.engine.request import Request
from papisim.engine.scheduling import Scheduling
from papisim.ops.lower import Prompts, chunk_lengths
from papisim.plan.layout import StepLayout
from papisim.plan.phase import Phase, TimedPhase, one_by_one, seconds
from papisim.plan.planner import Planner, StepWork
from papisim.record.segment import PlannedStep, Segment, StepYield
from papisim.record.steps import StepKind

#: growth of the caches of a single step before it begins
_NONE = np.zeros(1, dtype=np.int64)


class _Settled(NamedTuple):
    """What a step gave to requests: tokens, drafts, and the requests that are complete."""

    tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    wasted: int = 0
    complete: tuple[Request, ...] = ()


class StepRunner:
    """Runs the steps of one server.

    Args:
        clock: lets the time of steps pass.
        log: records steps.
        queues: the requests of the server.
        planner: turns prompts into phases.
        iterations: prepares decoding iterations.
        host: prepares and launches steps.
        scheduling: decides where operators and caches are, and charges it.
        boards: boards that their power limit slows.
        fold: whether identical layers are multiplied.
        may_come: tells whether requests may still arrive.
        may_time_out: whether requests may be given up.
        hand_over: takes requests with complete prompts to where they decode; they decode here, if None.

    Attributes:
        last_began_s: start of the last step, of several iterations at once that of the last one.
    """

    def __init__(
        self,
        clock: StepClock,
        log: StepLog,
        queues: ServerQueues,
        planner: Planner,
        iterations: IterationStrategy,
        *,
        host: Host,
        scheduling: Scheduling,
        boards: Boards,
        fold: bool,
        may_come: Callable[[], bool],
        may_time_out: bool,
        hand_over: Callable[[Request], None] | None,
    ) -> None:
        self._clock, self._log, self._queues = clock, log, queues
        self._planner, self._iterations, self._host, self._boards = planner, iterations, host, boards
        self._scheduling = scheduling
        self.last_began_s = -math.inf
        self._fold, self._may_come, self._hand_over = fold, may_come, hand_over
        self._may_time_out = may_time_out

    @property
    def decode_rows(self) -> int:
        """Token-rows of the next iteration, as far as known before drafts are planned: none beyond a request's end."""
        batch, tlp = self._queues.batch, self._iterations.tlp
        rows = len(batch) * tlp if tlp <= batch.least_remaining else float(np.minimum(batch.remaining, tlp).sum())
        return math.ceil(rows)

    def reserve_pages(self) -> None:
        """Allocate the pages of the next iteration, as far as known before drafts are planned."""
        if len(self._queues.batch):
            self._queues.reserve_pages(math.ceil(self._iterations.tlp))

    def iteration_s(self, joining: int) -> float:
        """Return the seconds of an iteration if the first ``joining`` waiting requests joined, each cache at its longest."""
        devices_s, requests = (
            longest_iteration_s(self._planner, self._queues, joining),
            self._queues.admitted + joining,
        )
        devices_s += seconds(self._scheduling.decision)
        return devices_s + self._host.added_s(StepSize(requests, requests), devices_s)

    def forget(self, request: Request) -> None:
        """Forget a request that has ended."""
        self._iterations.leave(request.request_id)

    def truncate(self, process: simpy.Process) -> None:
        """End a stretch of iterations at the end of the one that is running."""
        self._clock.truncate(process)

    def stall(self, stall: Stall, process: simpy.Process) -> None:
        """Let a device stand still; the step that uses it takes longer."""
        self._clock.stall(stall, process)

    @property
    def looks_ahead(self) -> bool:
        """Whether the host prepares a step while the one before it runs."""
        return self._host.looks_ahead

    def step(self, chunks: list[Chunk], *, decode: bool, is_alone: bool) -> Timed[list[Request]]:
        """Compute parts of prompts, decode, or do both; returns the requests that are complete.

        A step that only decodes may be many iterations, unless it must be one alone.
        """
        fold = self._fold and not self._log.wants_layers(self._clock.now_s)
        if decode:
            self._scheduling.move(math.ceil(self._iterations.tlp))
        stretch = self._iterations.stretch
        if (
            not decode
            or chunks
            or is_alone
            or self._queues.moves
            or self._log.is_warming_up  # a stretch would run into what is measured
            or (stretch is not None and not stretch.fits(self._queues.batch))
            or (stretch is not None and self._scheduling.charges_switches and self._switches(stretch, fold=fold))
        ):
            stretch = None
        if stretch is not None:
            return (yield from self._run_stretch(stretch, fold=fold))
        iteration = None
        if decode:
            iteration, chunks = self._prepare(chunks, fold=fold)
        if iteration is None and not chunks:
            return []  # every request was preempted
        plan = self._plan(iteration, chunks, fold=fold)
        elapsed = yield from self._clock.run(plan)
        self.last_began_s = plan.start_s
        decoded = _Settled() if iteration is None else self._settle(plan, iteration, chunks)
        prompted = self._complete(chunks)
        tokens = decoded.tokens + prompted.tokens
        yielded = StepYield(tokens, prompted.tokens, decoded.drafted, decoded.accepted, decoded.wasted)
        self._log.close(Segment(plan, elapsed, yielded))
        return [*decoded.complete, *prompted.complete]

    def _switches(self, stretch: Stretch, *, fold: bool) -> bool:
        """Tell whether the first iteration of a stretch is charged for a switch, so that it is a step of its own."""
        first = stretch.prepare(self._queues.batch, 1, fold=fold)
        return self._scheduling.switches(first.layout, (*first.host, *(phase for phase, _ in first.growing)))

    def _prepare(self, chunks: list[Chunk], *, fold: bool) -> tuple[Iteration | None, list[Chunk]]:
        """Prepare an iteration and allocate its pages: drafts may be longer than was known when pages were reserved.

        Returns:
            The iteration, and the chunks of the requests that were not preempted; None if no request is left to decode.
        """
        queues = self._queues
        while len(queues.batch):
            prompts = _prompts_of(chunks)
            iteration = self._iterations.prepare(self._log.iteration, queues.batch, prompts, fold=fold)
            if not queues.reserve_pages(iteration.room):
                return iteration, chunks
            chunks = [chunk for chunk in chunks if chunk.request in queues.prefilling]
        return None, chunks

    def _plan(self, iteration: Iteration | None, chunks: list[Chunk], *, fold: bool) -> PlannedStep:
        queues = self._queues
        if iteration is None:
            prompts, requests, decoding, rows, overlapped_s = _prompts_of(chunks), 0, 0, 0, 0.0
            work = self._prompt_work(prompts, fold=fold)
        else:
            prompts, work, overlapped_s = iteration.prompts, iteration.work, iteration.overlapped_s
            requests = len(queues.batch)
            decoding, rows = iteration.decoding(requests), iteration.total_rows(requests)
        moves = list(queues.moves)
        queues.moves.clear()
        work = StepWork(work.layout, [*moves, *work.phases])
        kind = _kind(iteration, prompts)
        prompt_tokens = 0 if prompts is None else prompts.lengths.query_tokens
        draft_steps = 0 if iteration is None else iteration.draft_steps
        drafts = max(0, rows - decoding)
        size = StepSize(requests + len(chunks), rows + prompt_tokens, prompt_tokens, draft_steps, drafts)
        added, hidden_s = self._beside(size, work, work.time_s - overlapped_s)
        timed = _timed(added, hidden_s, moves, iteration) if iteration is not None and self._log.is_watched else None
        work, overlapped_s = StepWork(work.layout, [*added, *work.phases]), overlapped_s + hidden_s
        if iteration is not None:
            costs = [*self._scheduling.decision, *self._scheduling.switch(work.layout, work.phases)]
            if timed is not None:
                timed += one_by_one(costs, work.time_s - overlapped_s)
            work = StepWork(work.layout, [*work.phases, *costs])
        return PlannedStep(
            kind=kind,
            server=self._log.server,
            index=self._log.number(kind),
            start_s=self._clock.now_s,
            rlp=requests + len(chunks),
            decoding=decoding,
            rows=rows + prompt_tokens,
            prompt_tokens=prompt_tokens,
            kv_tokens=queues.cached_tokens,
            held_bytes=queues.held_bytes(_NONE),
            times_s=np.array([work.time_s - overlapped_s]),
            layout=work.layout,
            phases=tuple(work.phases),
            overlapped_s=overlapped_s,
            timed=None if timed is None else tuple(timed),
        )

    def _beside(self, size: StepSize, work: StepWork, devices_s: float) -> tuple[list[Phase], float]:
        """Return the phases of the host and of boards at their limit, and the seconds of them that pass while devices work.

        Args:
            size: what the host handles.
            work: the step.
            devices_s: its seconds on devices and links.
        """
        host = [] if self._host.is_free else self._host.phases(size, work.layout, work.phases)
        hidden_s = self._host.hidden_s(size, host, devices_s)
        slowed = self._boards.phases(work.layout, work.phases, devices_s + seconds(host) - hidden_s)
        if slowed:
            hidden_s = self._host.hidden_s(size, host, devices_s + seconds(slowed))
        return [*host, *slowed], hidden_s

    def _prompt_work(self, prompts: Prompts | None, *, fold: bool) -> StepWork:
        if prompts is None:
            return StepWork(StepLayout(), [])
        if self._log.is_watched:
            return StepWork(StepLayout(), self._planner.prefill(prompts.shape, prompts.lengths, fold=fold))
        return self._planner.work(prompts.shape, None, prompts.lengths, fold=fold)

    def _settle(self, plan: PlannedStep, iteration: Iteration, chunks: list[Chunk]) -> _Settled:
        """Accept drafts and emit the tokens of an iteration."""
        batch, log = self._queues.batch, self._log
        self._scheduling.ran(1)
        log.note_gaps(batch.deliver(self._clock.now_s, iteration.rows))
        in_flight_bytes = self._queues.growth_bytes(iteration.rows, chunks)
        verified = self._iterations.verify(batch, iteration)
        log.note_drafts(verified.counts)
        tokens, complete = batch.emit(verified.tokens)
        log.note_kv(plan.held_bytes.item(0) + in_flight_bytes)
        self._free(complete)
        return _Settled(tokens, verified.drafted, verified.accepted, verified.wasted, tuple(complete))

    def _complete(self, chunks: list[Chunk]) -> _Settled:
        """Give every request whose prompt is complete its first token; unless that was all, it decodes from now on."""
        if not chunks:
            return _Settled()
        queues = self._queues
        prompted = queues.compute(chunks)
        self._log.note_kv(queues.held_bytes(_NONE).item(0) + queues.held_by(prompted))
        for request in prompted:
            gap_s = request.emit_first(self._clock.now_s)
            if gap_s is not None:
                self._log.note_gap(gap_s)
        complete = [request for request in prompted if request.is_complete]
        self._free(complete)
        going_on = [request for request in prompted if not request.is_complete]
        if self._hand_over is None:
            queues.batch.join(going_on)
        else:
            queues.hand_over(going_on)
            for request in going_on:
                self._hand_over(request)
        return _Settled(len(prompted), complete=tuple(complete))

    def _run_stretch(self, stretch: Stretch, *, fold: bool) -> Timed[list[Request]]:
        """Decode until the first request is complete, the pages are exhausted, or an arrival truncates the stretch."""
        queues, batch, tlp, log = self._queues, self._queues.batch, stretch.tlp, self._log
        rlp, may_be_truncated = len(batch), self._may_time_out or (self._may_come() and queues.may_be_joined)
        n = self._scheduling.until_move(tlp, stretch.iterations(batch, may_be_truncated=may_be_truncated))
        n = queues.pages.iterations(batch, tlp, n)
        plan = self._plan_stretch(stretch, n, fold=fold)
        elapsed = yield from self._clock.run(plan, may_be_truncated=may_be_truncated)
        done, self.last_began_s = elapsed.n_steps, self._clock.now_s - float(elapsed.times_s[-1])
        stretch.ran(done, n)
        self._scheduling.ran(done)
        queues.pages.grow(batch, done * tlp)
        log.note_gaps(batch.deliver(self._clock.now_s) - (elapsed.time_s - float(elapsed.times_s[0])))
        log.note_gaps(elapsed.times_s[1:], rlp)
        verified = accept_all(rlp, tlp, done)
        log.note_drafts(verified.counts)
        log.note_kv(plan.held_bytes.item(0) + queues.growth_bytes(done * tlp))
        tokens, complete = batch.emit(done * tlp)
        self._free(complete)
        last_tokens = tokens - (done - 1) * plan.step_tokens
        yielded = StepYield(last_tokens, drafted=verified.drafted, accepted=verified.accepted)
        log.close(Segment(plan, elapsed, yielded))
        return complete

    def _plan_stretch(self, stretch: Stretch, n: int, *, fold: bool) -> PlannedStep:
        batch = self._queues.batch
        rlp, work = len(batch), stretch.prepare(batch, n, fold=fold)
        size = StepSize(rlp, rlp * stretch.tlp, drafts=rlp * (stretch.tlp - 1))
        host, times_s = self._host.phases(size, work.layout, work.host), work.times_s
        slowed = self._boards.phases(work.layout, work.host, self._mean_s(size, host, times_s), work.growing)
        times_s = times_s + seconds(slowed)
        overlapped_s: float | Floats = 0.0
        if host:
            hidden_s = self._host.hidden_of_many(size, host, times_s)
            times_s, overlapped_s = times_s + (seconds(host) - hidden_s), hidden_s
        self._scheduling.switch(work.layout, (*work.host, *(phase for phase, _ in work.growing)))  # none: see step
        decision = self._scheduling.decision
        if decision:
            times_s = times_s + seconds(decision)
        return PlannedStep(
            kind=StepKind.DECODE,
            server=self._log.server,
            index=self._log.number(StepKind.DECODE),
            start_s=self._clock.now_s,
            rlp=rlp,
            decoding=rlp,
            rows=rlp * stretch.tlp,
            prompt_tokens=0,
            kv_tokens=self._queues.cached_tokens,
            held_bytes=self._queues.held_bytes(stretch.tlp * np.arange(n)),
            times_s=times_s,
            layout=work.layout,
            phases=(*host, *slowed, *work.host, *decision),
            growing=tuple(work.growing),
            step_tokens=rlp * stretch.tlp,
            overlapped_s=overlapped_s,
        )

    def _mean_s(self, size: StepSize, host: list[Phase], times_s: Floats) -> float:
        mean_s = float(times_s.mean())
        return mean_s + seconds(host) - self._host.hidden_s(size, host, mean_s)

    def _free(self, requests: list[Request]) -> None:
        for request in requests:
            self._queues.pages.release(request)


def _timed(added: list[Phase], hidden_s: float, moves: list[Phase], iteration: Iteration) -> list[TimedPhase] | None:
    """Return the phases of an iteration as they run, after what the host and boards add, of which a part is hidden, and moves.

    None where they follow one another.
    """
    if iteration.timed is None:
        return None
    first_s = seconds(added) - hidden_s
    begins_s = first_s + seconds(moves)
    inside = (TimedPhase(begins_s + each.begins_s, each.phase) for each in iteration.timed)
    return [*one_by_one(added), *one_by_one(moves, first_s), *inside]


def _prompts_of(chunks: list[Chunk]) -> Prompts | None:
    if not chunks:
        return None
    lengths = chunk_lengths([(request.computed_tokens, tokens) for request, tokens in chunks])
    return Prompts(lengths, sum(request.prompt_left == tokens for request, tokens in chunks))


def _kind(iteration: Iteration | None, prompts: Prompts | None) -> StepKind:
    if iteration is None:
        return StepKind.PREFILL
    return StepKind.DECODE if prompts is None else StepKind.MIXED
