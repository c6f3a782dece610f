"""Equal steps in a row: planned before they run, elapsed when they have run, and recorded whole.

A :class:`Segment` is one step, or several decoding iterations that differ in nothing but the attention over growing caches.
It is made once, of the plan, the time that passed and the tokens that came of it, and never changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from papisim.arrays import Floats, Ints
from papisim.devices.base import AttentionRun
from papisim.ops.cost import Energy
from papisim.plan.layout import StepLayout
from papisim.plan.phase import Category, Phase, TimedPhase
from papisim.plan.sums import Sums
from papisim.policies.placement.base import Operator
from papisim.record.steps import StepKind, StepRow, only_device, placements


@dataclass(frozen=True, slots=True, eq=False)
class PlannedStep:
    """A step, or equal steps in a row, as known before they run.

    Attributes:
        kind: kind of each step.
        server: server that runs them.
        index: number of the first step.
        start_s: start of the first step.
        rlp: requests in each step.
        decoding: requests that decode in each step.
        rows: token-rows of each step.
        prompt_tokens: token-rows of each step that belong to prompts.
        kv_tokens: tokens in the KV caches at the start of the first step.
        held_bytes: bytes in the KV caches at the start of each step, shape (n,).
        times_s: planned seconds of each step, shape (n,).
        layout: phases that every step has and shares with other steps.
        phases: further phases of every step.
        growing: phases that are longer in every step, and their costs.
        step_tokens: tokens emitted by each step but the last, which lengthen the caches.
        overlapped_s: seconds that overlap saves in each step: sum of phase times minus duration; of each, shape (n,), where
            steps differ.
        timed: phases as they run, where several of a step run at once; None where they follow one another.
    """

    kind: StepKind
    server: str
    index: int
    start_s: float
    rlp: int
    decoding: int
    rows: int
    prompt_tokens: int
    kv_tokens: int
    held_bytes: Ints
    times_s: Floats
    layout: StepLayout
    phases: tuple[Phase, ...] = ()
    growing: tuple[tuple[Phase, AttentionRun], ...] = ()
    step_tokens: int = 0
    overlapped_s: float | Floats = 0.0
    timed: tuple[TimedPhase, ...] | None = None

    def saved_s(self, n_steps: int) -> float:
        """Return the seconds that overlap saves in the first ``n_steps`` steps."""
        saved = self.overlapped_s
        return n_steps * saved if isinstance(saved, float) else float(saved[:n_steps].sum())

    def uses(self, resource: str) -> bool:
        """Tell whether a device or link has a part in each step."""
        others = (*self.phases, *(phase for phase, _ in self.growing))
        shared = (where[0] for part in self.layout.parts for where in part.sums.rows)
        return resource in shared or any(phase.resource == resource for phase in others)


class Elapsed(NamedTuple):
    """The steps that ran, of those planned.

    Attributes:
        n_steps: steps that ran; fewer than planned if an event cut them short.
        times_s: seconds of each, the stall included, shape (n_steps,).
        time_s: seconds of all.
        stalled_s: seconds for which the last step waited for a stalled device.
    """

    n_steps: int
    times_s: Floats
    time_s: float
    stalled_s: float

    @classmethod
    def of(cls, planned_s: Floats, n_steps: int, stalled_s: float = 0.0) -> Elapsed:
        """Return the first steps of a plan, the last of them delayed by a stall.

        Args:
            planned_s: planned seconds of each step.
            n_steps: steps that ran.
            stalled_s: delay of the last step.
        """
        times_s = planned_s if n_steps == len(planned_s) else planned_s[:n_steps]
        if stalled_s:
            times_s = times_s.copy()
            times_s[-1] += stalled_s
        return cls(n_steps, times_s, float(times_s.sum()), stalled_s)


class StepYield(NamedTuple):
    """Tokens that steps emitted, and their drafts.

    Attributes:
        last_tokens: tokens emitted by the last step.
        first_tokens: first tokens among them, of requests whose prompts were completed.
        drafted: draft tokens verified in each step.
        accepted: draft tokens accepted in each step.
        wasted: draft tokens made and never verified, as found when each step ends.
    """

    last_tokens: int
    first_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    wasted: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Equal steps in a row that have run.

    Attributes:
        plan: the steps as planned.
        elapsed: the steps that ran and their times.
        yielded: their tokens and drafts.
    """

    plan: PlannedStep
    elapsed: Elapsed
    yielded: StepYield

    @property
    def kind(self) -> StepKind:
        """Kind of each step."""
        return self.plan.kind

    @property
    def n_steps(self) -> int:
        """Steps that ran."""
        return self.elapsed.n_steps

    @property
    def time_s(self) -> float:
        """Seconds of all steps."""
        return self.elapsed.time_s

    @property
    def emitted(self) -> int:
        """Tokens emitted by all steps."""
        return self.plan.step_tokens * (self.n_steps - 1) + self.yielded.last_tokens

    @property
    def growing(self) -> Iterator[tuple[Phase, AttentionRun]]:
        """Phases that are longer in every step, and their costs in the steps that ran."""
        return ((phase, run.first(self.n_steps)) for phase, run in self.plan.growing)

    @property
    def fc_device(self) -> str:
        """The device that ran the FC kernels, or ``mixed`` if several did."""
        devices = {device for part in self.plan.layout.parts for device in part.fc_devices}
        devices.update(phase.resource for phase in self.plan.phases if phase.category is Category.FC)
        return only_device(devices)

    @property
    def placed(self) -> dict[Operator, str]:
        """The device of each operator that has kernels, or ``mixed`` if several ran it."""
        plan = self.plan
        varying = (*plan.phases, *(phase for phase, _ in plan.growing))
        return placements(
            (
                *(placed for part in plan.layout.parts for placed in part.sums.operator_s),
                *((phase.operator, phase.resource) for phase in varying if phase.operator is not None),
            )
        )

    @property
    def kv_token_s(self) -> float:
        """Tokens in the KV caches at the start of each step, integrated over the time of the steps."""
        plan, times_s = self.plan, self.elapsed.times_s
        grown = float(np.dot(np.arange(self.n_steps), times_s)) * plan.step_tokens if self.n_steps > 1 else 0.0
        return plan.kv_tokens * self.time_s + grown

    @property
    def kv_byte_s(self) -> float:
        """Bytes in the KV caches at the start of each step, integrated over the time of the steps."""
        return float(np.dot(self.plan.held_bytes[: self.n_steps], self.elapsed.times_s))

    def _fixed(self) -> Sums:
        """Return the sums of each step, its growing phases aside."""
        sums = Sums(self.plan.phases)
        for part in self.plan.layout.parts:
            sums.add_scaled(part.sums)
        return sums

    def steps(self, static_w: float) -> Iterator[StepRow]:
        """Yield one row per step.

        Args:
            static_w: power that the machine draws whether or not it works.
        """
        plan, yielded, start_s, placed = self.plan, self.yielded, self.plan.start_s, self.placed
        for number, time_s in enumerate(self.elapsed.times_s.tolist()):
            is_last = number == self.n_steps - 1
            sums = self._fixed()
            for phase, run in plan.growing:
                sums.add_cost(phase, run.time_s.item(number), run.energy_j[:, number])
            yield StepRow(
                index=plan.index + number,
                kind=plan.kind,
                server=plan.server,
                start_s=start_s,
                rlp=plan.rlp,
                rows=plan.rows,
                kv_tokens=plan.kv_tokens + number * plan.step_tokens,
                kv_bytes=plan.held_bytes.item(number),
                prompt_tokens=plan.prompt_tokens,
                drafted=yielded.drafted,
                accepted=yielded.accepted,
                wasted=yielded.wasted,
                tokens=yielded.last_tokens if is_last else plan.step_tokens,
                time_s=time_s,
                stalled_s=self.elapsed.stalled_s if is_last else 0.0,
                overlapped_s=plan.saved_s(number + 1) - plan.saved_s(number),
                time_by={category: sums.time_by.get(category, 0.0) for category in Category},
                busy_by=sums.busy_by,
                fc_flop_by=sums.fc_flop_by,
                placed=placed,
                energy=sums.energy + Energy(static_j=static_w * time_s),
            )
            start_s += time_s
