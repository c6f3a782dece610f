"""What a server writes down of its steps: into the ledger, and for the probe that watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from papisim.arrays import Floats
from papisim.engine.probe import Probe
from papisim.plan.phase import Category, Phase, TimedPhase
from papisim.record.ledger import DraftCount, Ledger
from papisim.record.segment import Segment
from papisim.record.steps import StepKind


class StepLog:
    """Numbers a server's steps and records them.

    Args:
        server: name of the server.
        ledger: the ledger of the run.
        probe: watches the run, if given.
    """

    def __init__(self, server: str, ledger: Ledger, probe: Probe | None) -> None:
        self.server, self._ledger, self._probe = server, ledger, probe
        self._counts = {StepKind.PREFILL: 0, StepKind.DECODE: 0}

    @property
    def is_watched(self) -> bool:
        """Whether a probe wants every phase in the order they run."""
        return self._probe is not None

    @property
    def is_warming_up(self) -> bool:
        """Whether nothing is measured yet."""
        return self._ledger.is_warming_up

    @property
    def iteration(self) -> int:
        """Number of the next decoding iteration."""
        return self._counts[StepKind.DECODE]

    def number(self, kind: StepKind) -> int:
        """Return the number of the next step of a kind."""
        return self._counts[_counted_with(kind)]

    def wants_layers(self, now_s: float) -> bool:
        """Tell whether the probe wants the step that begins now layer by layer."""
        return self._probe is not None and self._probe.layers(self.server, now_s, self.iteration)

    def note_gaps(self, gaps_s: Floats, times: int = 1) -> None:
        """Record gaps between tokens, each ``times`` times."""
        self._ledger.note_gaps(gaps_s, times)

    def note_gap(self, gap_s: float) -> None:
        """Record one gap between tokens."""
        self._ledger.note_gaps(np.array([gap_s]))

    def note_drafts(self, counts: list[DraftCount]) -> None:
        """Record verified drafts."""
        self._ledger.note_drafts(counts)

    def note_kv(self, in_use_bytes: int) -> None:
        """Record the bytes in the caches, tokens still to be verified included."""
        self._ledger.note_kv(self.server, float(in_use_bytes))

    def close(self, segment: Segment) -> None:
        """Record steps that have run, and show them to the probe."""
        self._counts[_counted_with(segment.kind)] += segment.n_steps
        self._ledger.record(segment)
        if self._probe is not None:
            (row,) = segment.steps(self._ledger.static_w)
            for begins_s, phase in segment.plan.timed or _in_order(segment.plan.phases, row.overlapped_s):
                self._probe.phase(self.server, segment.plan.start_s + begins_s, row, phase)
            self._probe.step(self.server, row)


def _in_order(phases: Iterable[Phase], hidden_s: float) -> Iterator[TimedPhase]:
    """Yield phases that follow one another, but that devices begin before the host, whose work they hide, has ended."""
    begins_s = 0.0
    for phase in phases:
        yield TimedPhase(begins_s, phase)
        begins_s += phase.total_s - (hidden_s if phase.category is Category.HOST else 0.0)


def _counted_with(kind: StepKind) -> StepKind:
    """Return the kind whose counter numbers a step: prefills have their own, all others share one."""
    return StepKind.PREFILL if kind is StepKind.PREFILL else StepKind.DECODE
