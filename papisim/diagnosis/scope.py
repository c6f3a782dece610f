"""Scope of an explanation: the whole run, or the steps of one kind."""

from __future__ import annotations

from enum import StrEnum

from papisim.engine.run import Run
from papisim.record.steps import StepRow


class Scope(StrEnum):
    """The steps that count; steps that decode and compute prompts at once count for the whole run alone."""

    RUN = "run"
    DECODE = "decode"
    PREFILL = "prefill"

    def holds(self, step: StepRow) -> bool:
        """Tell whether a step is of this kind."""
        return self is Scope.RUN or step.kind == self.value

    def time_s(self, run: Run) -> float:
        """Return the seconds of the run, or of its steps of this kind."""
        if self is Scope.RUN:
            return run.ledger.end_s
        return sum(step.time_s for step in run.ledger.steps if self.holds(step))

    def machine_s(self, run: Run) -> float:
        """Return that time summed over replicas; the steps of each replica are in the sum already."""
        return self.time_s(run) * (run.experiment.routing.replicas if self is Scope.RUN else 1)

    def tokens_per_s(self, run: Run) -> float:
        """Return emitted tokens over that time, or prompt tokens if only prompts are computed."""
        steps = [step for step in run.ledger.steps if self.holds(step)]
        time_s = self.time_s(run)
        return sum(step.rows if self is Scope.PREFILL else step.tokens for step in steps) / time_s if time_s else 0.0
