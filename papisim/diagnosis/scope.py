"""What of a run is explained: all of it, or the steps of one kind."""

from __future__ import annotations

from enum import StrEnum

from papisim.engine.run import Run
from papisim.record.steps import StepRow


class Scope(StrEnum):
    """Which steps count; steps that decode and compute prompts at once count for the whole run alone."""

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
        """Return that time, summed over replicas where it is the run's; steps are counted on each as it is."""
        return self.time_s(run) * (run.experiment.routing.replicas if self is Scope.RUN else 1)

    def tokens_per_s(self, run: Run) -> float:
        """Return the rate over that time: of tokens emitted, or of a prompt's tokens where prompts alone are computed."""
        steps = [step for step in run.ledger.steps if self.holds(step)]
        time_s = self.time_s(run)
        return sum(step.rows if self is Scope.PREFILL else step.tokens for step in steps) / time_s if time_s else 0.0
