"""What the scheduler's decisions, switches of operators and moves of caches took."""

from __future__ import annotations

from dataclasses import dataclass

from papisim.plan.phase import Phase


@dataclass
class Overheads:
    """What placing operators took, over a run.

    Attributes:
        n_decisions: decisions, one before each decoding iteration.
        decision_s: seconds of them.
        n_switches: decoding iterations with an operator on other devices than in the one before.
        switch_s: seconds that these were longer.
        n_moves: moves of a server's caches from one memory to another.
        move_s: seconds of the moves.
        moved_bytes: bytes that were moved.
    """

    n_decisions: int = 0
    decision_s: float = 0.0
    n_switches: int = 0
    switch_s: float = 0.0
    n_moves: int = 0
    move_s: float = 0.0
    moved_bytes: int = 0

    def moved(self, phase: Phase, n_bytes: int) -> None:
        """Count a move of caches."""
        self.n_moves += 1
        self.move_s += phase.total_s
        self.moved_bytes += n_bytes
