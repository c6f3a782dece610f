"""Watching a run without being part of it: timelines, explanations and the like."""

from __future__ import annotations

from typing import Protocol

from papisim.plan.phase import Phase
from papisim.record.steps import StepRow


class Probe(Protocol):
    """Receives the phases and steps of a run while it happens, and changes nothing. A watched run is not fast-forwarded."""

    def layers(self, server: str, start_s: float, iteration: int) -> bool:
        """Tell whether the step that begins now is to be laid out layer by layer, rather than as sums over layers.

        Args:
            server: server that runs the step.
            start_s: start of the step.
            iteration: number of the decoding iteration, or of the next one after a prefill.
        """

    def phase(self, server: str, start_s: float, step: StepRow, phase: Phase) -> None:
        """Take a phase that has run: ``phase.time_s × phase.repeats`` seconds on ``phase.resource`` from ``start_s``.

        Args:
            server: server that ran the phase.
            start_s: start of the phase.
            step: step of the phase.
            phase: the phase.
        """

    def step(self, server: str, step: StepRow) -> None:
        """Take a step that is complete."""
