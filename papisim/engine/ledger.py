"""What happened: segments of steps, one row a request, and running totals. The engine writes it, results read it.

A :class:`Segment` is a step, or several decoding iterations in a row of which nothing differs but the attention over caches
that grow. It is stored as it was computed; :attr:`Ledger.steps` makes one row a step of it for whoever wants to look.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from papisim.devices.base import AttentionRun, Floats
from papisim.engine.phase import Category, Phase
from papisim.engine.step import Layout, Part
from papisim.engine.sums import Sums
from papisim.ops.cost import Energy


class StepKind(StrEnum):
    """What a step does: compute prompts, decode, or both."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"


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
        return fc_device(self.fc_flop_by)


def fc_device(fc_flop_by: dict[str, float]) -> str:
    """Return the device that ran the FC kernels, or ``mixed`` where several did."""
    return next(iter(fc_flop_by)) if len(fc_flop_by) == 1 else "mixed"


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
    """

    kind: StepKind
    server: str
    index: int
    start_s: float
    rlp: int
    rows: int
    kv_tokens: int
    layout: Layout
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
    phases: tuple[Phase, ...] = ()
    growing: tuple[tuple[Phase, AttentionRun], ...] = ()

    @property
    def emitted(self) -> int:
        """Tokens emitted by all steps."""
        return self.tokens * (self.n_steps - 1) + self.last_tokens

    @property
    def fc_flop_by(self) -> dict[str, float]:
        """FLOP of a step's FC kernels by device."""
        return self._fixed().fc_flop_by

    def _fixed(self) -> Sums:
        """Return what each step adds up to, its growing phases aside."""
        sums = Sums(self.phases)
        for part in self.layout:
            sums.add_times(part.sums)
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
    parts: Counter[Part] = field(default_factory=Counter)
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
        for part in segment.layout:
            self.parts[part] += n_steps
        for phase in segment.phases:
            self.varying.add(phase, n_steps)
        for phase, run in segment.growing:
            self.varying.add_cost(phase, float(run.time_s.sum()), run.energy_j.sum(axis=1))

    def sums(self) -> Sums:
        """Return what all phases of all steps add up to."""
        sums = Sums()
        sums.add_times(self.varying)
        for part, times in self.parts.items():
            sums.add_times(part.sums, times)
        return sums


@dataclass
class Ledger:
    """Everything that a run's results are computed from.

    Attributes:
        static_w: power that one machine draws whether or not it works.
        n_servers: how many equal machines there are.
        segments: in the order they ran.
        requests: in the order they arrived.
        totals: sums by kind of step.
        drafted_at: how many drafts reached each position, from 1.
        accepted_at: how many were accepted at least up to each position.
        peak_kv_by: most bytes of KV caches in use at once, by server.
        kv_capacity_bytes: room for KV caches.
        start_s: when the first request arrived.
        end_s: when the last request ended.
    """

    static_w: float = 0.0
    n_servers: int = 1
    segments: list[Segment] = field(default_factory=list)
    requests: list[RequestRow] = field(default_factory=list)
    totals: dict[StepKind, Totals] = field(default_factory=lambda: {kind: Totals() for kind in StepKind})
    drafted_at: Counter[int] = field(default_factory=Counter)
    accepted_at: Counter[int] = field(default_factory=Counter)
    peak_kv_by: dict[str, float] = field(default_factory=dict)
    kv_capacity_bytes: float = 0.0
    start_s: float = math.inf
    end_s: float = 0.0

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

    def record(self, segment: Segment) -> None:
        """Write down steps that have run."""
        self.totals[segment.kind].add(segment)
        self.segments.append(segment)

    def arrived(self, row: RequestRow) -> None:
        """Write down a request that has arrived."""
        self.requests.append(row)
        self.start_s = min(self.start_s, row.arrival_s)

    def ended(self, row: RequestRow) -> None:
        """Write down that a request has ended."""
        self.end_s = max(self.end_s, row.finish_s)

    @property
    def steps(self) -> list[StepRow]:
        """One row a step, in the order they ran; made anew each time."""
        return [step for segment in self.segments for step in segment.steps(self.static_w)]

    def sums(self, *kinds: StepKind) -> Sums:
        """Return what the phases of all steps of some kinds add up to; of every kind, if none is named."""
        sums = Sums()
        for kind in kinds or StepKind:
            sums.add_times(self.totals[kind].sums())
        return sums

    @property
    def busy_s(self) -> dict[str, float]:
        """Seconds that each device and link was occupied."""
        return self.sums().busy_by

    @property
    def energy_by_resource(self) -> dict[str, Energy]:
        """Energy that each device and link spent on work (static energy excluded)."""
        return self.sums().energy_by
