"""What happened: one row a step, one a request, and running totals. The engine writes it, results read it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from papisim.engine.step import Category
from papisim.ops.cost import Energy


@dataclass(slots=True)
class StepRow:
    """One step of the model: a prefill or a decoding iteration.

    Attributes:
        index: number of the step of its kind, from 0.
        kind: ``prefill`` or ``decode``.
        start_s: when it began.
        time_s: how long it took.
        rlp: requests in it.
        rows: token-rows of its FC kernels: the drafts verified and one more a request, or the prompts' tokens.
        drafted: draft tokens verified.
        accepted: draft tokens accepted.
        tokens: tokens it emitted.
        kv_tokens: tokens in the KV caches when it began.
        time_by: seconds by category.
        busy_by: seconds by device or link.
        fc_flop_by: FLOP of FC kernels by device.
        energy: energy by part, static energy included.
    """

    index: int
    kind: str
    start_s: float
    rlp: int
    rows: int
    kv_tokens: int
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
        return next(iter(self.fc_flop_by)) if len(self.fc_flop_by) == 1 else "mixed"


@dataclass(slots=True)
class RequestRow:
    """One request from its arrival to its last token."""

    request_id: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    admitted_s: float = float("nan")
    first_token_s: float = float("nan")
    finish_s: float = float("nan")
    emitted_tokens: int = 0


@dataclass
class Ledger:
    """Everything that a run's results are computed from.

    Attributes:
        steps: in the order they ran.
        requests: in the order they arrived.
        busy_s: seconds that each device and link was occupied.
        energy_by_resource: energy that each device and link spent on work (static energy excluded).
        drafted_at: how many drafts reached each position, from 1.
        accepted_at: how many were accepted at least up to each position.
        peak_kv_bytes: most bytes of KV caches in use at once.
        kv_capacity_bytes: room for KV caches.
        end_s: when the last request finished.
    """

    steps: list[StepRow] = field(default_factory=list)
    requests: list[RequestRow] = field(default_factory=list)
    busy_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    energy_by_resource: dict[str, Energy] = field(default_factory=lambda: defaultdict(Energy))
    drafted_at: Counter[int] = field(default_factory=Counter)
    accepted_at: Counter[int] = field(default_factory=Counter)
    peak_kv_bytes: float = 0.0
    kv_capacity_bytes: float = 0.0
    end_s: float = 0.0
