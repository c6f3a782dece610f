"""Sums over all steps of one kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from papisim.plan.layout import PARTS_KEPT, StepPart
from papisim.plan.sums import Sums
from papisim.record.segment import Segment


@dataclass
class Totals:
    """Sums over all steps of one kind.

    Attributes:
        n_steps: steps.
        rounds: decoding requests, summed over the steps.
        prompt_tokens: prompt tokens computed.
        drafted: draft tokens verified.
        accepted: draft tokens accepted.
        wasted: draft tokens made and never verified.
        tokens: tokens emitted.
        round_tokens: tokens emitted by requests that decoded.
        time_s: seconds of the steps.
        stalled_s: seconds for which steps waited for a stalled device.
        overlapped_s: seconds saved by overlap: sum of phase times minus step times.
        parts: executions of each part that steps share.
        varying: sums of all other phases.
    """

    n_steps: int = 0
    rounds: int = 0
    prompt_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    wasted: int = 0
    tokens: int = 0
    round_tokens: int = 0
    time_s: float = 0.0
    stalled_s: float = 0.0
    overlapped_s: float = 0.0
    parts: Counter[StepPart] = field(default_factory=Counter)
    varying: Sums = field(default_factory=Sums)

    def add(self, segment: Segment) -> None:
        """Add the steps of a segment."""
        n_steps, plan, yielded, emitted = segment.n_steps, segment.plan, segment.yielded, segment.emitted
        self.n_steps += n_steps
        self.rounds += n_steps * plan.decoding
        self.prompt_tokens += n_steps * plan.prompt_tokens
        self.drafted += n_steps * yielded.drafted
        self.accepted += n_steps * yielded.accepted
        self.wasted += n_steps * yielded.wasted
        self.tokens += emitted
        self.round_tokens += emitted - yielded.first_tokens
        self.time_s += segment.time_s
        self.stalled_s += segment.elapsed.stalled_s
        self.overlapped_s += plan.saved_s(n_steps)
        for part in plan.layout.parts:
            self.parts[part] += n_steps
        if len(self.parts) > PARTS_KEPT:
            self.varying, self.parts = self.sums(), Counter()
        for phase in plan.phases:
            self.varying.add(phase, n_steps)
        for phase, run in segment.growing:
            self.varying.add_run(phase, run)

    def sums(self) -> Sums:
        """Return the sums of all phases of all steps."""
        sums = Sums()
        sums.add_scaled(self.varying)
        for part, times in self.parts.items():
            sums.add_scaled(part.sums, times)
        return sums
