"""The steps of a server: prompts, decoding iterations, and many of these at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import simpy

from papisim.arrays import Floats, Ints
from papisim.engine.faults import Loss, Stall
from papisim.engine.overlap import Overlap
from papisim.engine.probe import Probe
from papisim.engine.queues import Chunk, Residents
from papisim.engine.speculation import Iteration, Speculator
from papisim.errors import NotModelled
from papisim.ops.lower import KvLengths, Prompts, chunk_lengths, decode_lengths, decode_shape
from papisim.plan.layout import StepLayout
from papisim.plan.machine import Machine
from papisim.plan.memory import MemoryPlan
from papisim.plan.phase import Phase, seconds
from papisim.plan.planner import Planner, StepWork
from papisim.policies.speculation.base import Round
from papisim.record.ledger import Ledger, RequestRow, Segment, StepKind

#: a process that takes simulated time and returns the requests that ended with it
Ending = Generator[simpy.Event, Any, list[RequestRow]]


class _Decoding(NamedTuple):
    """A decoding iteration that is about to run, prompts beside it included.

    Attributes:
        rows: token-rows of each request that decodes, shape (RLP,) or the same for all.
        layout: phases that it shares with other steps.
        phases: its other phases.
        iteration: its drafts; None in a steady iteration.
        time_s: what it takes, where that is not the sum of its phases since they overlap.
        prompts: those that are computed in the same step, if any.
    """

    rows: Ints | int
    layout: StepLayout
    phases: list[Phase]
    iteration: Iteration | None
    time_s: float | None = None
    prompts: Prompts | None = None

    def total_rows(self, rlp: int) -> int:
        """Token-rows of all requests that decode."""
        return rlp * self.rows if isinstance(self.rows, int) else int(self.rows.sum())


#: a process that takes simulated time
Process = Generator[simpy.Event, Any, None]

#: iterations that are priced at once where an arrival may cut them; doubled up to the longest as long as none does
_FIRST_STRETCH, _LONGEST_STRETCH = 16, 4096


class Stepper:
    """Runs the steps of one server.

    Args:
        env: the simulation's clock.
        name: of the server.
        machine: the hardware.
        memory: where KV caches live.
        residents: whose requests they are.
        planner: turns steps into phases.
        speculator: what is drafted and accepted.
        overlap: what of a step runs at the same time.
        ledger: where everything is written down.
        may_come: tells whether requests may still arrive.
        fast_forward: run many iterations at once where that is exact.
        probe: watches, if given.
        fold: whether identical layers are multiplied.
        hand_over: takes requests whose prompts are complete to where they decode; they decode here, if None.
    """

    def __init__(
        self,
        env: simpy.Environment,
        name: str,
        *,
        machine: Machine,
        memory: MemoryPlan,
        residents: Residents,
        planner: Planner,
        speculator: Speculator,
        overlap: Overlap,
        ledger: Ledger,
        may_come: Callable[[], bool],
        fast_forward: bool,
        probe: Probe | None,
        fold: bool,
        hand_over: Callable[[RequestRow], None] | None = None,
    ) -> None:
        self._env, self._name, self._memory = env, name, memory
        self._residents, self._planner, self._speculator = residents, planner, speculator
        self._ledger, self._may_come, self._probe = ledger, may_come, probe
        self._static_w, self._may_fold, self._fold = machine.static_w, fold, fold
        self._gaps = ledger.latencies["itl"]
        if overlap.is_on and (probe is not None or speculator.steady_tlp is None):
            raise NotModelled("overlap with drafts that may change, or watched phase by phase, is not modelled")
        self._overlap, self._hand_over = overlap, hand_over
        self._steady = (fast_forward or overlap.is_on) and probe is None and speculator.steady_tlp is not None
        self._many = self._steady and fast_forward and not overlap.of_decoding
        self._tlp = float(speculator.steady_tlp or 1)
        self._counts = {StepKind.PREFILL: 0, StepKind.DECODE: 0}
        self._cuttable = False
        self._running: Segment | None = None
        self._stalls: dict[str, float] = {}
        self._stretch = _FIRST_STRETCH

    @property
    def decode_rows(self) -> int:
        """Token-rows that the next iteration takes; as many a request as the last one, where drafts may change."""
        return math.ceil(len(self._residents.batch) * self._tlp)

    def make_room(self) -> None:
        """Take the pages that the next iteration needs, as far as is known before drafts are decided."""
        if len(self._residents.batch):
            self._residents.make_room(math.ceil(self._tlp))

    def iteration_s(self, joining: int) -> float:
        """Return the seconds of a decoding iteration with all who are admitted and the first who wait.

        Nothing is drafted, and each cache is at its longest.
        """
        residents = self._residents
        batch, others = residents.batch, [*residents.prefilling, *islice(residents.waiting, joining)]
        longest = [row.input_tokens + row.output_tokens - 1 for row in others]
        total = sum(longest) + batch.cached_tokens + int(batch.remaining.sum())
        most = max([*longest, int((batch.cached + batch.remaining).max(initial=0))])
        rlp = len(batch) + len(others)
        lengths = KvLengths(rlp, rlp, total, most, total)
        return self._planner.work(decode_shape(rlp, rlp), lengths, None, fold=self._fold).time_s

    def forget(self, row: RequestRow) -> None:
        """Forget a request that has ended."""
        self._speculator.leave(row.request_id)

    def cut(self, process: simpy.Process) -> None:
        """End a stretch of iterations at the end of the one that is running."""
        if self._cuttable:
            self._cuttable = False
            process.interrupt()

    def stall(self, stall: Stall, process: simpy.Process) -> None:
        """Let a device stand still: the step that uses it, or the next one that does, takes longer."""
        self._stalls[stall.resource] = max(stall.until_s, self._stalls.get(stall.resource, 0.0))
        if self._running is not None and self._running.uses(stall.resource):
            process.interrupt(stall)

    def step(self, chunks: list[Chunk], *, decode: bool) -> Ending:
        """Compute parts of prompts, decode, or do both; returns who ended.

        A step that does nothing but decode may be many iterations.
        """
        if self._probe is not None:
            wanted = self._probe.layers(self._name, self._env.now, self._counts[StepKind.DECODE])
            self._fold = self._may_fold and not wanted
        if decode and not chunks and self._many and not self._residents.moves:
            return (yield from self._many_iterations())
        iteration = None
        if decode:
            iteration, chunks = self._prepare(chunks)
        if iteration is None and not chunks:
            return []  # everyone gave way
        step, phases = self._lay_out(iteration, chunks)
        yield from self._pass(step, cuttable=False)
        ended = [] if iteration is None else self._settle(step, iteration)
        ended += self._complete(step, chunks)
        self._close(step, phases)
        return ended

    def _prepare(self, chunks: list[Chunk]) -> tuple[_Decoding | None, list[Chunk]]:
        """Lay out an iteration, and make room for it: drafts may be longer than was known when room was made.

        Returns:
            The iteration, and the chunks of those who did not have to give way for it; None if nobody is left to decode.
        """
        residents = self._residents
        while len(residents.batch):
            decoding = self._decoding(_prompts_of(chunks))
            if not residents.make_room(decoding.rows):
                return decoding, chunks
            chunks = [chunk for chunk in chunks if chunk[0] in residents.prefilling]
        return None, chunks

    def _decoding(self, prompts: Prompts | None) -> _Decoding:
        batch, tlp = self._residents.batch, self._speculator.steady_tlp
        if not self._steady or tlp is None:
            iteration = self._speculator.prepare(self._counts[StepKind.DECODE], batch, prompts, fold=self._fold)
            return _Decoding(iteration.rows, StepLayout(), iteration.phases, iteration, prompts=prompts)
        rlp = len(batch)
        if self._overlap.of_decoding or (self._overlap.is_on and prompts is not None):
            together = self._overlap.step(batch, tlp, prompts, fold=self._fold)
            host = self._speculator.host(rlp, tlp)
            time_s = together.time_s + seconds(host)
            return _Decoding(tlp, together.layout, together.phases + host, None, time_s, prompts)
        shape, lengths = decode_shape(rlp, rlp * tlp), self._decode_lengths(tlp)
        if prompts is None:
            layout, phases = self._planner.work(shape, lengths, None, fold=self._fold)
        else:
            whole = shape.with_prompts(prompts)
            layout, phases = self._planner.work(whole, lengths, prompts.lengths, fold=self._fold)
        return _Decoding(tlp, layout, phases + self._speculator.host(rlp, tlp), None, prompts=prompts)

    def _decode_lengths(self, tlp: int) -> KvLengths:
        batch = self._residents.batch
        return decode_lengths(len(batch), tlp, batch.cached_tokens, batch.longest_cached)

    def _lay_out(self, decoding: _Decoding | None, chunks: list[Chunk]) -> tuple[Segment, list[Phase]]:
        """Return the step as far as it is known before it runs, and its phases that are not in its layout."""
        prompts, rlp, rows = _prompts_of(chunks) if decoding is None else decoding.prompts, 0, 0
        if decoding is not None:
            rlp, layout, phases = len(self._residents.batch), decoding.layout, decoding.phases
            rows = decoding.total_rows(rlp)
        elif prompts is not None:
            layout, phases = self._prompt_work(prompts)
        phases = [*self._residents.moves, *phases]
        self._residents.moves.clear()
        alone_s = layout.time_s + seconds(phases)
        overlapped_s = 0.0
        if decoding is not None and decoding.time_s is not None:
            overlapped_s = decoding.layout.time_s - decoding.time_s
            overlapped_s += seconds(decoding.phases)
        step = self._open(_kind(decoding, prompts), rlp + len(chunks), layout, np.array([alone_s - overlapped_s]))
        step.overlapped_s = overlapped_s
        step.decoding, step.phases = rlp, tuple(phases)
        step.prompt_tokens = 0 if prompts is None else prompts.lengths.query_tokens
        step.rows = rows + step.prompt_tokens
        return step, phases

    def _prompt_work(self, prompts: Prompts) -> StepWork:
        if self._probe is None:
            return self._planner.work(prompts.shape, None, prompts.lengths, fold=self._fold)
        return StepWork(StepLayout(), self._planner.prefill(prompts.shape, prompts.lengths, fold=self._fold))

    def _open(self, kind: StepKind, rlp: int, layout: StepLayout, times_s: Floats) -> Segment:
        return Segment(
            kind=kind,
            server=self._name,
            index=self._counts[_counted_with(kind)],
            start_s=self._env.now,
            rlp=rlp,
            rows=0,
            kv_tokens=self._residents.cached_tokens,
            layout=layout,
            times_s=times_s,
            time_s=float(times_s.sum()),
            n_steps=len(times_s),
        )

    def _settle(self, step: Segment, decoding: _Decoding) -> list[RequestRow]:
        """Accept drafts and emit the tokens of an iteration; returns who has said everything."""
        batch = self._residents.batch
        self._gaps.add_all(batch.deliver(self._env.now))
        if decoding.iteration is None:
            self._note_steady_drafts(step, len(batch), 1)
            tokens, ended = batch.emit(decoding.rows)
            in_flight = tokens
        else:
            in_flight = int(np.minimum(batch.remaining, decoding.rows).sum())
            accepted, rounds = self._speculator.settle(batch, decoding.iteration)
            self._note_drafts(step, rounds)
            self._tlp = decoding.total_rows(len(batch)) / len(batch)
            tokens, ended = batch.emit(accepted)
        self._note_kv(step.kv_tokens + in_flight + step.prompt_tokens)
        step.last_tokens = tokens
        self._leave(ended)
        return ended

    def _complete(self, step: Segment, chunks: list[Chunk]) -> list[RequestRow]:
        """Give every request whose prompt is complete its first token; it decodes from now on, unless that was all."""
        if not chunks:
            return []
        complete, ended = self._residents.compute(chunks), []
        self._note_kv(self._residents.cached_tokens + sum(row.computed_tokens for row in complete))
        step.last_tokens += len(complete)
        step.first_tokens = len(complete)
        for row in complete:
            row.emitted_tokens += 1
            if row.emitted_tokens == 1:
                row.first_token_s = self._env.now
            else:
                self._gaps.add(self._env.now - row.last_token_s)
            row.last_token_s = self._env.now
            if row.emitted_tokens == row.output_tokens:
                ended.append(row)
        self._leave(ended)
        going_on = [row for row in complete if row.emitted_tokens < row.output_tokens]
        if self._hand_over is None:
            self._residents.batch.join(going_on)
        else:
            self._residents.leaving += going_on
            for row in going_on:
                self._hand_over(row)
        return ended

    def _many_iterations(self) -> Ending:
        """Decode until the first request ends, the pages run out, or an arrival cuts in."""
        residents, tlp = self._residents, self._speculator.steady_tlp or 1
        batch, rlp = residents.batch, len(residents.batch)
        cuttable = self._may_come() and residents.may_be_joined
        most = -(-batch.least_remaining // tlp)
        n = residents.pages.iterations(batch, tlp, min(most, self._stretch) if cuttable else most)
        layout = self._planner.layout(decode_shape(rlp, rlp * tlp), fold=self._fold)
        growing = self._planner.growing(layout, self._decode_lengths(tlp), n)
        host = self._speculator.host(rlp, tlp)
        times_s = sum((run.time_s * phase.repeats for phase, run in growing), np.zeros(n))
        times_s += layout.time_s + seconds(host)
        step = self._open(StepKind.DECODE, rlp, layout, times_s)
        step.phases, step.growing = tuple(host), tuple(growing)
        yield from self._pass(step, cuttable=cuttable)
        done = step.n_steps
        self._stretch = (
            max(_FIRST_STRETCH, 2 * done) if done < n else min(_LONGEST_STRETCH, 2 * max(self._stretch, n))
        )
        step.decoding = rlp
        step.rows = step.tokens = rlp * tlp
        residents.pages.grow(batch, done * tlp)
        self._gaps.add_all(batch.deliver(self._env.now) - (step.time_s - float(step.times_s[0])))
        self._gaps.add_all(step.times_s[1:], rlp)
        self._note_steady_drafts(step, rlp, done)
        tokens, ended = batch.emit(done * tlp)
        step.last_tokens = tokens - (done - 1) * step.tokens
        self._note_kv(step.kv_tokens + tokens)
        self._leave(ended)
        self._close(step, [])
        return ended

    def _pass(self, steps: Segment, *, cuttable: bool) -> Process:
        """Let the time of steps pass; they end early where somebody cuts in, and late where a device stands still."""
        ends_s, start_s = np.cumsum(steps.times_s), self._env.now
        still_until_s = self._still_until_s(steps)
        stalled_s = max(0.0, still_until_s - start_s)
        n = 1 if stalled_s else steps.n_steps
        self._cuttable, self._running = cuttable, steps
        while True:
            rest_s = float(ends_s[n - 1]) + stalled_s - (self._env.now - start_s)
            try:
                if rest_s > 0:
                    yield self._env.timeout(rest_s)
                break
            except simpy.Interrupt as news:
                if isinstance(news.cause, Loss):
                    raise
                if not stalled_s:  # else the step at hand is the last already
                    n = min(n, int(np.searchsorted(ends_s, self._env.now - start_s)) + 1)
                if isinstance(news.cause, Stall):
                    stalled_s += max(0.0, news.cause.until_s - max(still_until_s, self._env.now))
                    still_until_s = max(still_until_s, news.cause.until_s)
        self._cuttable, self._running = False, None
        steps.end_early(n)
        if stalled_s:
            steps.stall(stalled_s)

    def _still_until_s(self, steps: Segment) -> float:
        """Return until when devices stand still that steps use which are about to begin."""
        return max((until_s for resource, until_s in self._stalls.items() if steps.uses(resource)), default=0.0)

    def _leave(self, rows: list[RequestRow]) -> None:
        for row in rows:
            self._residents.pages.give_back(row)

    def _note_steady_drafts(self, step: Segment, rlp: int, n: int) -> None:
        drafts = int(self._tlp) - 1
        step.drafted = step.accepted = rlp * drafts
        for position in range(1, drafts + 1):
            self._ledger.drafted_at[position] += rlp * n
            self._ledger.accepted_at[position] += rlp * n

    def _note_drafts(self, step: Segment, rounds: list[Round]) -> None:
        for each in rounds:
            step.drafted += each.draft.nodes
            step.accepted += each.accepted
            self._ledger.drafted_at.update(range(1, each.draft.length + 1))
            self._ledger.accepted_at.update(range(1, each.accepted + 1))

    def _note_kv(self, tokens: int) -> None:
        """Write down the caches in use, those of tokens still to be verified included."""
        self._ledger.note_kv(self._name, float(tokens * self._memory.kv_token_bytes))

    def _close(self, step: Segment, phases: list[Phase]) -> None:
        """Write a step down, and show it to whoever watches."""
        self._counts[_counted_with(step.kind)] += step.n_steps
        self._ledger.record(step, self._memory.kv_token_bytes)
        if self._probe is not None:
            (row,) = step.steps(self._static_w)
            start_s = step.start_s
            for phase in phases:
                self._probe.phase(self._name, start_s, row, phase)
                start_s += phase.total_s
            self._probe.step(self._name, row)


def _prompts_of(chunks: list[Chunk]) -> Prompts | None:
    if not chunks:
        return None
    lengths = chunk_lengths([(row.computed_tokens, count) for row, count in chunks])
    return Prompts(lengths, sum(row.prompt_left == count for row, count in chunks))


def _kind(decoding: _Decoding | None, prompts: Prompts | None) -> StepKind:
    if decoding is None:
        return StepKind.PREFILL
    return StepKind.DECODE if prompts is None else StepKind.MIXED


def _counted_with(kind: StepKind) -> StepKind:
    """Return the kind whose counter numbers a step: prefills have their own, all others share one."""
    return StepKind.PREFILL if kind is StepKind.PREFILL else StepKind.DECODE
