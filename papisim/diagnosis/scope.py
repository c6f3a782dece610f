"""Scope of an explanation: the whole run, or the steps of one kind."""

from __future__ import annotations

from enum import StrEnum

from papisim.engine.run import Run
from papisim.record.steps import StepKind, StepRow


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
        return run.ledger.end_s if self is Scope.RUN else run.ledger.totals[StepKind(self.value)].time_s

    def machine_s(self, run: Run) -> float:
        """Return that time summed over replicas; the steps of each replica are in the sum already."""
        return self.time_s(run) * (run.experiment.routing.replicas if self is Scope.RUN else 1)

    def tokens_per_s(self, run: Run) -> float:
        """Return emitted tokens over that time, or prompt tokens if only prompts are computed; 0 where no time passed."""
        totals, time_s = run.ledger.totals, self.time_s(run)
        if self is Scope.PREFILL:
            tokens = totals[StepKind.PREFILL].prompt_tokens
        else:
            tokens = sum(each.tokens for kind, each in totals.items() if self is Scope.RUN or kind == self.value)
        return tokens / time_s if time_s else 0.0
