"""The serving process: admits requests, computes prompts, decodes until everyone has said everything."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import simpy

from papisim.engine.batch import Batch
from papisim.engine.build import HOST, Machine, Memory
from papisim.engine.ledger import Ledger, RequestRow, StepRow
from papisim.engine.probe import Probe
from papisim.engine.speculation import Speculator
from papisim.engine.step import Category, Phase, StepPlanner
from papisim.errors import DoesNotFit
from papisim.ops.cost import Energy
from papisim.ops.lower import prefill_lengths, prefill_shape
from papisim.policies.batching.base import BatchingPolicy, BatchingView
from papisim.policies.speculation.base import Round
from papisim.workloads.base import WorkloadSource

Process = Generator[simpy.Event, Any, None]

#: called after each step with the tokens emitted so far and the seconds simulated
Progress = Callable[[int, float], None]


class Server:
    """One machine that serves one stream of requests.

    Args:
        env: the simulation's clock.
        machine: the hardware.
        memory: where KV caches live.
        planner: turns steps into phases.
        batching: who joins the batch.
        speculator: what is drafted and accepted.
        ledger: where everything is written down.
        progress: told after each step.
        probe: watches phases and steps, if given.
    """

    def __init__(
        self,
        env: simpy.Environment,
        machine: Machine,
        *,
        memory: Memory,
        planner: StepPlanner,
        batching: BatchingPolicy,
        speculator: Speculator,
        ledger: Ledger,
        progress: Progress,
        probe: Probe | None = None,
    ) -> None:
        self._env, self._machine, self._memory = env, machine, memory
        self._planner, self._batching, self._speculator = planner, batching, speculator
        self._ledger, self._progress, self._probe = ledger, progress, probe
        self._resources = {name: simpy.Resource(env) for name in (*machine.pools, *machine.links, HOST)}
        self._waiting: deque[RequestRow] = deque()
        self._more_to_come = True
        self._news = env.event()
        self._batch = Batch()
        self._reserved_bytes = 0.0
        self._emitted = 0
        self._counts = {"prefill": 0, "decode": 0}

    def arrivals(self, workload: WorkloadSource) -> Process:
        """Put each request into the queue when it arrives."""
        for request in workload:
            if request.arrival_s > self._env.now:
                yield self._env.timeout(request.arrival_s - self._env.now)
            row = RequestRow(request.request_id, request.arrival_s, request.input_tokens, request.output_tokens)
            self._ledger.requests.append(row)
            self._waiting.append(row)
            self._announce()
        self._more_to_come = False
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, self._env.event()
        news.succeed()

    def serve(self) -> Process:
        """Decode until no request is left and none will come."""
        while True:
            admitted = self._admit()
            if admitted:
                yield from self._prefill(admitted)
            if len(self._batch):
                yield from self._iteration()
            elif self._waiting or self._more_to_come:
                yield self._news
            else:
                break
        self._ledger.end_s = self._env.now

    def _admit(self) -> list[RequestRow]:
        view = BatchingView(len(self._waiting), len(self._batch), self._more_to_come)
        rows = [self._waiting.popleft() for _ in range(self._batching.admit(view))]
        for row in rows:
            row.admitted_s = self._env.now
            self._reserved_bytes += self._kv_bytes(row)
        if self._reserved_bytes > self._memory.kv_capacity_bytes:
            raise self._too_much_kv(len(rows))
        return rows

    def _kv_bytes(self, row: RequestRow) -> float:
        """KV of a request at its longest; it is reserved when the request is admitted and freed when it ends."""
        return float((row.input_tokens + row.output_tokens) * self._memory.kv_token_bytes)

    def _too_much_kv(self, joining: int) -> DoesNotFit:
        device = self._memory.kv_device
        fitting = int(joining * self._memory.kv_capacity_bytes / self._reserved_bytes)
        return DoesNotFit(
            f"the KV caches of a batch of {joining} requests do not fit into '{device}'",
            self._reserved_bytes / 1e9,
            self._memory.kv_capacity_bytes / 1e9,
            "GB",
            [
                f"--batch {max(1, fitting)}",
                f"more of '{device}' (--set devices.{device}.count=…)",
                "shorter requests",
            ],
        )

    def _prefill(self, rows: list[RequestRow]) -> Process:
        prompts = [row.input_tokens for row in rows]
        shape, lengths = prefill_shape(prompts), prefill_lengths(prompts)
        step = self._open("prefill", len(rows), shape.rows)
        yield from self._run(step, self._planner.prefill(shape, lengths))
        fresh = Batch()
        fresh.join(rows)
        for row in rows:
            row.first_token_s = self._env.now
        step.tokens, ended = fresh.first_token()
        self._batch.absorb(fresh)
        self._note_kv(self._batch.cached_tokens)
        self._close(step, ended)

    def _iteration(self) -> Process:
        """Decode once: every request gets its accepted drafts and one more token."""
        iteration = self._speculator.prepare(self._counts["decode"], self._batch)
        step = self._open("decode", len(self._batch), int(iteration.rows.sum()))
        self._note_kv(self._batch.cached_tokens + step.rows)
        yield from self._run(step, iteration.phases)
        tokens, rounds = self._speculator.settle(self._batch, iteration)
        self._note_drafts(step, rounds)
        step.tokens, ended = self._batch.emit(tokens)
        self._close(step, ended)

    def _open(self, kind: str, rlp: int, rows: int) -> StepRow:
        step = StepRow(self._counts[kind], kind, self._env.now, rlp, rows, self._batch.cached_tokens)
        self._counts[kind] += 1
        return step

    def _note_drafts(self, step: StepRow, rounds: list[Round]) -> None:
        for each in rounds:
            step.drafted += each.draft.nodes
            step.accepted += each.accepted
            self._ledger.drafted_at.update(range(1, each.draft.length + 1))
            self._ledger.accepted_at.update(range(1, each.accepted + 1))

    def _note_kv(self, tokens: int) -> None:
        """Write down the caches in use, those of tokens still to be verified included."""
        in_use = tokens * self._memory.kv_token_bytes
        self._ledger.peak_kv_bytes = max(self._ledger.peak_kv_bytes, in_use)
        if in_use > self._memory.kv_capacity_bytes:
            raise self._too_much_kv(len(self._batch))

    def _run(self, step: StepRow, phases: list[Phase]) -> Process:
        energy = Energy()
        for phase in phases:
            time_s, joules = phase.time_s * phase.repeats, phase.energy * phase.repeats
            with self._resources[phase.resource].request() as granted:
                yield granted
                yield self._env.timeout(time_s)
            self._ledger.busy_s[phase.resource] += time_s
            self._ledger.energy_by_resource[phase.resource] += joules
            step.time_by[phase.category] += time_s
            step.busy_by[phase.resource] += time_s
            if phase.category is Category.FC:
                step.fc_flop_by[phase.resource] += phase.flop * phase.repeats
            energy += joules
            if self._probe is not None:
                self._probe.phase(self._machine.name, self._env.now - time_s, step, phase)
        step.time_s = self._env.now - step.start_s
        step.energy = energy + Energy(static_j=self._machine.static_w * step.time_s)

    def _close(self, step: StepRow, ended: list[RequestRow]) -> None:
        """Count ``<eos>``, free what the ended requests held, and write the step down; RLP is lower from now on."""
        for row in ended:
            row.finish_s = self._env.now
            self._reserved_bytes -= self._kv_bytes(row)
            self._speculator.leave(row.request_id)
        self._ledger.steps.append(step)
        if self._probe is not None:
            self._probe.step(self._machine.name, step)
        self._emitted += step.tokens
        self._progress(self._emitted, self._env.now)
