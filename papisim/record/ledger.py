"""What happened: segments of steps, one row a request, and running totals. The engine writes it, results read it.

A :class:`Segment` is a step, or several decoding iterations in a row of which nothing differs but the attention over caches
that grow. It is stored as it was computed; :attr:`Ledger.steps` makes one row a step of it for whoever wants to look.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from papisim.arrays import Floats
from papisim.config.experiment import SloSpec
from papisim.devices.base import AttentionRun
from papisim.ops.cost import Energy
from papisim.plan.layout import PARTS_KEPT, StepLayout, StepPart
from papisim.plan.phase import Category, Phase
from papisim.plan.sums import Sums
from papisim.record.distribution import Distribution, Exact, Sketch


class StepKind(StrEnum):
    """What a step does: compute prompts, decode, or both."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"


#: what is measured of requests: time to first token, time per output token, gaps between tokens, end-to-end latency, and
#: time in the queue
LATENCIES = ("ttft", "tpot", "itl", "e2e", "queueing")

#: kinds of steps in which requests decode
DECODING = (StepKind.DECODE, StepKind.MIXED)


class Outcome(StrEnum):
    """How a request ended."""

    SERVED = "served"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(slots=True)
class StepRow:
    """One step of the model: a prefill, a decoding iteration, or one with prompts beside it.

    Attributes:
        index: number of the step, from 0; prefills are counted by themselves, steps that decode too.
        kind: ``prefill``, ``decode`` or ``mixed``.
        server: who ran it.
        start_s: when it began.
        rlp: requests in it.
        rows: token-rows of its FC kernels: the drafts verified and one more a request, and the prompts' tokens.
        kv_tokens: tokens in the KV caches when it began.
        prompt_tokens: token-rows that belong to prompts.
        drafted: draft tokens verified.
        accepted: draft tokens accepted.
        tokens: tokens it emitted.
        time_s: how long it took.
        stalled_s: how much of that it waited for a device that stood still.
        overlapped_s: what its phases take more than it, since some run at the same time.
        time_by: seconds by category.
        busy_by: seconds by device or link.
        fc_flop_by: FLOP of FC kernels by device.
        energy: energy by part, static energy included.
    """

    index: int
    kind: StepKind
    server: str
    start_s: float
    rlp: int
    rows: int
    kv_tokens: int
    prompt_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    tokens: int = 0
    time_s: float = 0.0
    stalled_s: float = 0.0
    overlapped_s: float = 0.0
    time_by: dict[Category, float] = field(default_factory=lambda: dict.fromkeys(Category, 0.0))
    busy_by: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    fc_flop_by: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    energy: Energy = field(default_factory=Energy)

    @property
    def tlp(self) -> float:
        """Token-rows a request, on average."""
        return self.rows / self.rlp

    @property
    def fc_device(self) -> str:
        """The device that ran the FC kernels, or ``mixed`` where several did."""
        return _only(self.fc_flop_by)


def _only(devices: Collection[str]) -> str:
    return next(iter(devices)) if len(devices) == 1 else "mixed"


@dataclass(slots=True, eq=False)
class Segment:
    """Equal steps in a row.

    Attributes:
        kind: of the steps.
        server: who ran them.
        index: of the first.
        start_s: when the first began.
        rlp: requests in each.
        rows: token-rows of each.
        kv_tokens: tokens in the KV caches when the first began; every step but the last adds ``tokens / n_steps``.
        n_steps: how many steps.
        prompt_tokens: token-rows of each that belong to prompts.
        decoding: requests of each that decode.
        drafted: draft tokens that each verifies.
        accepted: draft tokens that each accepts.
        tokens: tokens emitted by each but the last.
        last_tokens: tokens emitted by the last.
        first_tokens: those of them that completed prompts emitted.
        layout: phases that every step has, and that it shares with other steps.
        phases: further phases of every step.
        growing: phases that are longer in every step, and their costs.
        times_s: seconds of each, shape (n_steps,).
        time_s: seconds of all.
        stalled_s: of the last, what it waited for a device that stood still.
        overlapped_s: of each, what its phases take more than it, since some run at the same time.
    """

    kind: StepKind
    server: str
    index: int
    start_s: float
    rlp: int
    rows: int
    kv_tokens: int
    layout: StepLayout
    times_s: Floats
    time_s: float
    n_steps: int = 1
    prompt_tokens: int = 0
    decoding: int = 0
    drafted: int = 0
    accepted: int = 0
    tokens: int = 0
    last_tokens: int = 0
    first_tokens: int = 0
    stalled_s: float = 0.0
    overlapped_s: float = 0.0
    phases: tuple[Phase, ...] = ()
    growing: tuple[tuple[Phase, AttentionRun], ...] = ()

    @property
    def emitted(self) -> int:
        """Tokens emitted by all steps."""
        return self.tokens * (self.n_steps - 1) + self.last_tokens

    def uses(self, resource: str) -> bool:
        """Tell whether a device or link has a part in each step."""
        others = (*self.phases, *(phase for phase, _ in self.growing))
        shared = (key[0] for part in self.layout.parts for key in part.sums.rows)
        return resource in shared or any(phase.resource == resource for phase in others)

    def end_early(self, n_steps: int) -> None:
        """Leave only the first steps."""
        if n_steps < self.n_steps:
            self.n_steps, self.times_s = n_steps, self.times_s[:n_steps]
            self.time_s = float(self.times_s.sum())
            self.growing = tuple((phase, run.first(n_steps)) for phase, run in self.growing)

    def stall(self, time_s: float) -> None:
        """Let the last step take longer."""
        self.times_s = self.times_s.copy()
        self.times_s[-1] += time_s
        self.time_s += time_s
        self.stalled_s += time_s

    @property
    def fc_device(self) -> str:
        """The device that ran the FC kernels, or ``mixed`` where several did."""
        devices = {device for part in self.layout.parts for device in part.fc_devices}
        devices.update(phase.resource for phase in self.phases if phase.category is Category.FC)
        return _only(devices)

    @property
    def kv_token_s(self) -> float:
        """Tokens in the KV caches, integrated over the time of the steps, each with what it began with."""
        grown = float(np.dot(np.arange(self.n_steps), self.times_s)) * self.tokens if self.n_steps > 1 else 0.0
        return self.kv_tokens * self.time_s + grown

    def _fixed(self) -> Sums:
        """Return what each step adds up to, its growing phases aside."""
        sums = Sums(self.phases)
        for part in self.layout.parts:
            sums.add_scaled(part.sums)
        return sums

    def steps(self, static_w: float) -> Iterator[StepRow]:
        """Yield one row a step.

        Args:
            static_w: power that the machine draws whether or not it works.
        """
        start_s = self.start_s
        for number, time_s in enumerate(self.times_s.tolist()):
            sums = self._fixed()
            for phase, run in self.growing:
                sums.add_cost(phase, run.time_s.item(number), run.energy_j[:, number])
            yield StepRow(
                self.index + number,
                self.kind,
                self.server,
                start_s,
                self.rlp,
                self.rows,
                self.kv_tokens + number * self.tokens,
                prompt_tokens=self.prompt_tokens,
                drafted=self.drafted,
                accepted=self.accepted,
                tokens=self.last_tokens if number == self.n_steps - 1 else self.tokens,
                time_s=time_s,
                stalled_s=self.stalled_s if number == self.n_steps - 1 else 0.0,
                overlapped_s=self.overlapped_s,
                time_by={category: sums.time_by.get(category, 0.0) for category in Category},
                busy_by=sums.busy_by,
                fc_flop_by=sums.fc_flop_by,
                energy=sums.energy + Energy(static_j=static_w * time_s),
            )
            start_s += time_s


@dataclass(slots=True, eq=False)
class RequestRow:
    """One request from its arrival to its end.

    Attributes:
        request_id: whose.
        arrival_s: when it arrived.
        input_tokens: tokens of its prompt.
        output_tokens: tokens that it wants.
        admitted_s: when it was first admitted.
        first_token_s: when its first token was there.
        last_token_s: when it got its last tokens so far; not kept up to date while it decodes.
        finish_s: when it ended, however it did.
        emitted_tokens: tokens that it got.
        preemptions: how often it lost its place in the batch.
        outcome: how it ended; None while it has not.
        reason: why, if it was not served.
        server: who served it.
        computed_tokens: tokens in its cache, or waiting to be moved back there; not kept up to date while it decodes.
        swapped: whether it was moved out while it decoded, so that it goes on without computing anything again.
        pages: pages of the KV cache that it holds; not kept up to date while it decodes.
    """

    request_id: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    admitted_s: float = float("nan")
    first_token_s: float = float("nan")
    last_token_s: float = float("nan")
    finish_s: float = float("nan")
    emitted_tokens: int = 0
    preemptions: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    server: str = ""
    computed_tokens: int = 0
    swapped: bool = False
    pages: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Tokens to be in the cache before it can go on: its prompt, and after a preemption what it has said so far."""
        return self.input_tokens + self.emitted_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens in its cache while it decodes: all but the last it emitted."""
        return self.input_tokens + max(0, self.emitted_tokens - 1)

    @property
    def prompt_left(self) -> int:
        """Tokens still to be computed before it can decode."""
        return 0 if self.swapped else self.prompt_tokens - self.computed_tokens

    @property
    def latencies_s(self) -> dict[str, float]:
        """Its latencies by name, once it has been served: :data:`LATENCIES` but for the gaps between its tokens."""
        figures = {
            "ttft": self.first_token_s - self.arrival_s,
            "e2e": self.finish_s - self.arrival_s,
            "queueing": self.admitted_s - self.arrival_s,
        }
        if self.output_tokens > 1:
            figures["tpot"] = (self.finish_s - self.first_token_s) / (self.output_tokens - 1)
        return figures


@dataclass
class Totals:
    """Sums over all steps of one kind.

    Attributes:
        n_steps: how many.
        rounds: requests that decoded, summed over the steps.
        prompt_tokens: prompt tokens computed.
        drafted, accepted, tokens: as of a step.
        round_tokens: tokens emitted by requests that decoded.
        time_s: seconds.
        stalled_s: seconds of these in which a device stood still.
        overlapped_s: what phases take more than steps, since some run at the same time.
        parts: how often each part that steps share ran.
        varying: what all else adds up to.
    """

    n_steps: int = 0
    rounds: int = 0
    prompt_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    tokens: int = 0
    round_tokens: int = 0
    time_s: float = 0.0
    stalled_s: float = 0.0
    overlapped_s: float = 0.0
    parts: Counter[StepPart] = field(default_factory=Counter)
    varying: Sums = field(default_factory=Sums)

    def add(self, segment: Segment) -> None:
        """Count a segment."""
        n_steps = segment.n_steps
        self.n_steps += n_steps
        self.rounds += n_steps * segment.decoding
        self.prompt_tokens += n_steps * segment.prompt_tokens
        self.drafted += n_steps * segment.drafted
        self.accepted += n_steps * segment.accepted
        self.tokens += segment.emitted
        self.round_tokens += segment.emitted - segment.first_tokens
        self.time_s += segment.time_s
        self.stalled_s += segment.stalled_s
        self.overlapped_s += n_steps * segment.overlapped_s
        for part in segment.layout.parts:
            self.parts[part] += n_steps
        if len(self.parts) > PARTS_KEPT:
            self.varying, self.parts = self.sums(), Counter()
        for phase in segment.phases:
            self.varying.add(phase, n_steps)
        for phase, run in segment.growing:
            self.varying.add_cost(phase, float(run.time_s.sum()), run.energy_j.sum(axis=1))

    def sums(self) -> Sums:
        """Return what all phases of all steps add up to."""
        sums = Sums()
        sums.add_scaled(self.varying)
        for part, times in self.parts.items():
            sums.add_scaled(part.sums, times)
        return sums


@dataclass
class Ledger:
    """Everything that a run's results are computed from.

    Attributes:
        static_w: power that one machine draws whether or not it works.
        n_servers: how many equal machines there are.
        keeps_rows: whether there is a row for every step and request; if not, memory does not grow with the run.
        slo: targets that a request may meet.
        segments: in the order they ran.
        requests: in the order they arrived.
        totals: sums by kind of step.
        between: sums over messages between servers.
        drafted_at: how many drafts reached each position, from 1.
        accepted_at: how many were accepted at least up to each position.
        peak_kv_by: most bytes of KV caches in use at once, by server.
        kv_capacity_bytes: room for KV caches.
        kv_byte_s: bytes of KV caches in use, integrated over the time that steps took.
        running_s: requests in steps, integrated over their time.
        start_s: when the first request arrived.
        end_s: when the last request ended.
        arrived_requests, arrived_tokens: requests that arrived, and the tokens of their prompts and answers.
        outcomes: how many requests ended how.
        n_preemptions: how often requests lost their places.
        met_slo: served requests that met every target.
        lost_tokens: tokens of answers that were never emitted, since their requests were not served.
        in_system: requests that have arrived and not ended.
        in_system_s: their number, integrated over time.
        sojourn_s: time in the system of all requests that have ended.
        n_switches: how often FC kernels moved to another device from one decoding iteration to the next.
        switches: those iterations, with RLP and RLP × TLP (rows) there, where rows are kept.
        latencies: of served requests, by name: ``ttft``, ``tpot``, ``e2e``, ``queueing``; and ``itl`` of all tokens.
    """

    static_w: float = 0.0
    n_servers: int = 1
    keeps_rows: bool = True
    slo: SloSpec = field(default_factory=SloSpec)
    segments: list[Segment] = field(default_factory=list)
    requests: list[RequestRow] = field(default_factory=list)
    totals: dict[StepKind, Totals] = field(default_factory=lambda: {kind: Totals() for kind in StepKind})
    between: Sums = field(default_factory=Sums)
    drafted_at: Counter[int] = field(default_factory=Counter)
    accepted_at: Counter[int] = field(default_factory=Counter)
    peak_kv_by: dict[str, float] = field(default_factory=dict)
    kv_capacity_bytes: float = 0.0
    kv_byte_s: float = 0.0
    running_s: float = 0.0
    start_s: float = math.inf
    end_s: float = 0.0
    arrived_requests: int = 0
    arrived_tokens: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    n_preemptions: int = 0
    met_slo: int = 0
    lost_tokens: int = 0
    in_system: int = 0
    in_system_s: float = 0.0
    sojourn_s: float = 0.0
    n_switches: int = 0
    switches: list[dict[str, Any]] = field(default_factory=list)
    latencies: dict[str, Distribution] = field(init=False)
    _changed_s: float = 0.0
    _fc_device: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.latencies = {name: Exact() if self.keeps_rows else Sketch() for name in LATENCIES}

    @property
    def makespan_s(self) -> float:
        """Seconds from the first arrival to the last request's end."""
        return max(0.0, self.end_s - self.start_s)

    @property
    def peak_kv_bytes(self) -> float:
        """Most bytes of KV caches in use at once; the peaks of several servers are added up."""
        return sum(self.peak_kv_by.values())

    def note_kv(self, server: str, in_use_bytes: float) -> None:
        """Write down how many bytes of KV caches a server has in use."""
        self.peak_kv_by[server] = max(self.peak_kv_by.get(server, 0.0), in_use_bytes)

    def record(self, segment: Segment, kv_token_bytes: int) -> None:
        """Write down steps that have run.

        Args:
            segment: the steps.
            kv_token_bytes: bytes of a token of a request in the KV caches.
        """
        self.totals[segment.kind].add(segment)
        self.running_s += segment.rlp * segment.time_s
        self.kv_byte_s += kv_token_bytes * segment.kv_token_s
        if segment.kind in DECODING:
            self._note_switch(segment)
        if self.keeps_rows:
            self.segments.append(segment)

    def _note_switch(self, segment: Segment) -> None:
        before, device = self._fc_device.get(segment.server), segment.fc_device
        self._fc_device[segment.server] = device
        if before in (None, device):
            return
        self.n_switches += 1
        if self.keeps_rows:
            there = {"iteration": segment.index, "rlp": segment.rlp, "rows": segment.rows}
            self.switches.append({**there, "from": before, "to": device})

    def moved(self, phase: Phase) -> None:
        """Write down a message between servers, which is in no step."""
        self.between.add(phase)

    def arrived(self, row: RequestRow) -> None:
        """Write down a request that has arrived."""
        self._count(row.arrival_s, +1)
        self.start_s = min(self.start_s, row.arrival_s)
        self.arrived_requests += 1
        self.arrived_tokens += row.input_tokens + row.output_tokens
        if self.keeps_rows:
            self.requests.append(row)

    def ended(self, row: RequestRow, outcome: Outcome, reason: str, now_s: float) -> None:
        """Write down that a request has ended, how and why."""
        row.outcome, row.reason, row.finish_s = outcome, reason, now_s
        self._count(now_s, -1)
        self.end_s = max(self.end_s, now_s)
        self.outcomes[outcome] += 1
        self.n_preemptions += row.preemptions
        self.sojourn_s += now_s - row.arrival_s
        self.lost_tokens += row.output_tokens - row.emitted_tokens
        if outcome is Outcome.SERVED:
            for name, value in row.latencies_s.items():
                self.latencies[name].add(value)
            self.met_slo += self.slo.met_by(row.latencies_s)

    def _count(self, now_s: float, change: int) -> None:
        self.in_system_s += self.in_system * (now_s - self._changed_s)
        self.in_system += change
        self._changed_s = now_s

    @property
    def steps(self) -> list[StepRow]:
        """One row a step, in the order they ran; made anew each time."""
        return [step for segment in self.segments for step in segment.steps(self.static_w)]

    def sums(self, *kinds: StepKind) -> Sums:
        """Return what the phases of all steps of some kinds add up to; if none is named, of every kind and all messages."""
        sums = Sums()
        if not kinds:
            sums.add_scaled(self.between)
        for kind in kinds or StepKind:
            sums.add_scaled(self.totals[kind].sums())
        return sums

    @property
    def busy_s(self) -> dict[str, float]:
        """Seconds that each device and link was occupied."""
        return self.sums().busy_by

    @property
    def energy_by_resource(self) -> dict[str, Energy]:
        """Energy that each device and link spent on work (static energy excluded)."""
        return self.sums().energy_by
