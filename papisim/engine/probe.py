"""Watching a run without being part of it: timelines, explanations and the like."""

from __future__ import annotations

from typing import Protocol

from papisim.plan.phase import Phase
from papisim.record.ledger import StepRow


class Probe(Protocol):
    """What is told of a run while it happens; nothing it does changes the run. A watched run is not fast-forwarded."""

    def layers(self, server: str, start_s: float, iteration: int) -> bool:
        """Say whether the step that begins now is to be laid out layer by layer, rather than as sums over layers.

        Args:
            server: who runs it.
            start_s: when it begins.
            iteration: number of the decoding iteration that it is, or of the next one after a prefill.
        """

    def phase(self, server: str, start_s: float, step: StepRow, phase: Phase) -> None:
        """Take a phase that has run: ``phase.time_s × phase.repeats`` seconds on ``phase.resource`` from ``start_s``.

        Args:
            server: who ran it.
            start_s: when it began.
            step: the step it belongs to.
            phase: what ran.
        """

    def step(self, server: str, step: StepRow) -> None:
        """Take a step that is complete."""
