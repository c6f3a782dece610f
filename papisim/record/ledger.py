"""The ledger of a run: everything that its results are computed from."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from papisim.arrays import Floats
from papisim.config.experiment import SloSpec
from papisim.ops.cost import Energy
from papisim.plan.phase import Phase
from papisim.plan.sums import Sums
from papisim.policies.placement.base import Operator
from papisim.record.distribution import Distribution, Exact, Sketch
from papisim.record.overheads import Overheads
from papisim.record.requests import LATENCIES, RequestOutcome, RequestRecord
from papisim.record.reuse import Reuse
from papisim.record.segment import Segment
from papisim.record.steps import DECODING, StepKind, StepRow
from papisim.record.totals import Totals
from papisim.record.users import Users
from papisim.record.visits import Visits

#: requests that decode in the tail of a batch, in which a machine is all but empty
TAIL_RLP = 2


class DraftCount(NamedTuple):
    """Drafts of one length of which equally many tokens were accepted.

    Attributes:
        length: positions of each draft.
        accepted: positions accepted of each draft.
        times: drafts.
    """

    length: int
    accepted: int
    times: int = 1


@dataclass
class Ledger:
    """Everything that a run's results are computed from.

    While it warms up nothing is recorded but that requests come and go: steps that end then, and requests that arrive then,
    are in no figure. The step under way when measuring starts counts as a whole.

    Attributes:
        static_w: power that one machine draws whether or not it works.
        n_servers: equal machines.
        keeps_rows: whether segments and requests are kept; if not, memory does not grow with the run.
        slo: targets that a request may meet.
        users: the users of a closed loop, with the arrivals of their requests; None of other workloads.
        warmup_requests: the first requests to arrive, which are not measured.
        segments: segments in the order they ran.
        totals: sums by kind of step.
        between: sums over messages between servers.
        drafted_at: drafts that reached each position, from 1.
        accepted_at: drafts accepted at least up to each position.
        peak_kv_by: most bytes of KV caches in use at once, by server.
        kv_capacity_bytes: room for KV caches.
        kv_byte_s: bytes of KV caches in use, integrated over the time of the steps.
        kv_token_s: tokens in KV caches, kept or not, integrated over the time of the steps.
        running_s: requests in steps, integrated over the time of the steps.
        decoding_s: requests that decode, integrated over the time of the steps that decode.
        tail_s: seconds of the steps that decode at most :data:`TAIL_RLP` requests.
        start_s: first arrival that is measured.
        end_s: end of the last request.
        max_positions: longest context that the model is configured for, in tokens; None if that is not known.
        beyond_positions: requests that arrived whose longest context exceeds ``max_positions``.
        arrived_requests: requests that arrived.
        arrived_tokens: tokens of their prompts and answers.
        outcomes: ended requests by outcome.
        n_preemptions: preemptions of all ended requests.
        met_slo: served requests that met every target.
        lost_tokens: tokens asked for and never emitted, since their requests were not served.
        in_system: requests that have arrived and not ended.
        in_system_s: requests in the system, integrated over time.
        sojourn_s: time in the system, summed over ended requests.
        n_switches: moves of FC kernels to another device from one decoding iteration to the next.
        switches: the iterations of these moves with RLP and RLP × TLP (rows), where rows are kept.
        visits: devices that each operator ran on in decoding iterations.
        reuse: what the prefix caches save; None where there is none.
        overheads: what placing operators took; None where it takes nothing and moves nothing.
        latencies: of served requests by name: ``ttft``, ``tpot``, ``e2e``, ``queueing``; and ``itl`` of all tokens.
    """

    static_w: float = 0.0
    n_servers: int = 1
    keeps_rows: bool = True
    slo: SloSpec = field(default_factory=SloSpec)
    users: Users | None = None
    warmup_requests: int = 0
    segments: list[Segment] = field(default_factory=list)
    totals: dict[StepKind, Totals] = field(default_factory=lambda: {kind: Totals() for kind in StepKind})
    between: Sums = field(default_factory=Sums)
    drafted_at: Counter[int] = field(default_factory=Counter)
    accepted_at: Counter[int] = field(default_factory=Counter)
    peak_kv_by: dict[str, float] = field(default_factory=dict)
    kv_capacity_bytes: float = 0.0
    kv_byte_s: float = 0.0
    kv_token_s: float = 0.0
    running_s: float = 0.0
    decoding_s: float = 0.0
    tail_s: float = 0.0
    start_s: float = math.inf
    end_s: float = 0.0
    max_positions: int | None = None
    beyond_positions: int = 0
    arrived_requests: int = 0
    arrived_tokens: int = 0
    outcomes: Counter[RequestOutcome] = field(default_factory=Counter)
    n_preemptions: int = 0
    met_slo: int = 0
    lost_tokens: int = 0
    in_system: int = 0
    in_system_s: float = 0.0
    sojourn_s: float = 0.0
    n_switches: int = 0
    switches: list[dict[str, object]] = field(default_factory=list)
    visits: dict[Operator, Visits] = field(default_factory=lambda: defaultdict(Visits))
    reuse: Reuse | None = None
    overheads: Overheads | None = None
    latencies: dict[str, Distribution] = field(init=False)
    _records: dict[int, RequestRecord | None] = field(default_factory=dict)
    _warmed_up: int = 0
    _warming_in_system: int = 0
    _changed_s: float = 0.0
    _fc_device: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.latencies = {name: Exact() if self.keeps_rows else Sketch() for name in LATENCIES}

    @property
    def requests(self) -> list[RequestRecord]:
        """Requests that have ended, in the order of their arrival; empty where rows are not kept."""
        return [record for record in self._records.values() if record is not None]

    @property
    def is_warming_up(self) -> bool:
        """Whether no request that is measured has arrived."""
        return self.warmup_requests > 0 and not self.arrived_requests

    @property
    def unfinished(self) -> int:
        """Requests that have arrived and not ended, those of the warm-up included."""
        return self.in_system + self._warming_in_system

    @property
    def makespan_s(self) -> float:
        """Seconds from the first arrival that is measured to the last request's end."""
        return max(0.0, self.end_s - self.start_s)

    @property
    def peak_kv_bytes(self) -> float:
        """Most bytes of KV caches in use at once; the peaks of several servers are added up."""
        return sum(self.peak_kv_by.values())

    def reuse_now(self) -> Reuse:
        """Return the counts of prefix caches that an event belongs in: while the run warms up, some that are not kept."""
        assert self.reuse is not None
        return Reuse(self.reuse.block_tokens) if self.is_warming_up else self.reuse

    @property
    def overheads_now(self) -> Overheads:
        """What placing operators took; throwaway counts while the run warms up."""
        assert self.overheads is not None
        return Overheads() if self.is_warming_up else self.overheads

    def note_gaps(self, gaps_s: Floats, times: int = 1) -> None:
        """Record gaps between tokens, each ``times`` times."""
        if not self.is_warming_up:
            self.latencies["itl"].add_all(gaps_s, times)

    def note_kv(self, server: str, in_use_bytes: float) -> None:
        """Record the bytes of KV caches that a server has in use."""
        if self.is_warming_up:
            return
        self.peak_kv_by[server] = max(self.peak_kv_by.get(server, 0.0), in_use_bytes)

    def note_drafts(self, counts: list[DraftCount]) -> None:
        """Record verified drafts by position."""
        if self.is_warming_up:
            return
        for length, accepted, times in counts:
            for position in range(1, length + 1):
                self.drafted_at[position] += times
            for position in range(1, accepted + 1):
                self.accepted_at[position] += times

    def record(self, segment: Segment) -> None:
        """Record steps that have run."""
        if self.is_warming_up:
            return
        self.totals[segment.kind].add(segment)
        self.running_s += segment.plan.rlp * segment.time_s
        self.kv_byte_s += segment.kv_byte_s
        self.kv_token_s += segment.kv_token_s
        if segment.kind in DECODING:
            self.decoding_s += segment.plan.decoding * segment.time_s
            self.tail_s += segment.time_s if segment.plan.decoding <= TAIL_RLP else 0.0
            self._note_switch(segment)
            for operator, device in segment.placed.items():
                self.visits[operator].add(device, segment)
        if self.keeps_rows:
            self.segments.append(segment)

    def _note_switch(self, segment: Segment) -> None:
        plan, device = segment.plan, segment.fc_device
        before = self._fc_device.get(plan.server)
        self._fc_device[plan.server] = device
        if before in (None, device):
            return
        self.n_switches += 1
        if self.keeps_rows:
            there = {"iteration": plan.index, "rlp": plan.rlp, "rows": plan.rows}
            self.switches.append({**there, "from": before, "to": device})

    def moved(self, phase: Phase) -> None:
        """Record a message between servers, which belongs to no step."""
        if not self.is_warming_up:
            self.between.add(phase)

    def arrived(self, arrival_s: float, input_tokens: int, output_tokens: int) -> int:
        """Record the arrival of a request, and return its number in the order of arrivals; negative if it is not measured."""
        if self._warmed_up < self.warmup_requests:
            self._warmed_up += 1
            self._warming_in_system += 1
            return -self._warmed_up
        if self.users is not None:
            self.users.asked(arrival_s, output_tokens)
        self._count(arrival_s, +1)
        self.start_s = min(self.start_s, arrival_s)
        number = self.arrived_requests
        self.arrived_requests += 1
        self.arrived_tokens += input_tokens + output_tokens
        if self.max_positions is not None:
            self.beyond_positions += input_tokens + output_tokens - 1 > self.max_positions
        if self.keeps_rows:
            self._records[number] = None
        return number

    def ended(self, number: int, record: RequestRecord) -> None:
        """Record the end of a request.

        Args:
            number: number that :meth:`arrived` returned.
            record: the request.
        """
        if number < 0:
            self._warming_in_system -= 1
            return
        self._count(record.finish_s, -1)
        self.end_s = max(self.end_s, record.finish_s)
        self.outcomes[record.outcome] += 1
        self.n_preemptions += record.preemptions
        self.sojourn_s += record.finish_s - record.arrival_s
        self.lost_tokens += record.output_tokens - record.emitted_tokens
        if record.outcome is RequestOutcome.SERVED:
            latencies_s = record.latencies_s
            for name, value in latencies_s.items():
                self.latencies[name].add(value)
            self.met_slo += self.slo.met_by(latencies_s)
        if self.keeps_rows:
            self._records[number] = record

    def _count(self, now_s: float, change: int) -> None:
        self.in_system_s += self.in_system * (now_s - self._changed_s)
        self.in_system += change
        self._changed_s = now_s

    @property
    def steps(self) -> list[StepRow]:
        """One row per step, in the order they ran; made anew each time."""
        return [step for segment in self.segments for step in segment.steps(self.static_w)]

    def sums(self, *kinds: StepKind) -> Sums:
        """Return the sums over all steps of some kinds; of every kind and of all messages between servers if none is named."""
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
