"""Totals are the sums of the segments added, however parts are counted."""

import numpy as np
import pytest

from papisim.devices.base import AttentionRun
from papisim.ops.cost import ENERGY_PARTS, Energy
from papisim.plan.layout import StepLayout, StepPart
from papisim.plan.phase import Category, Phase
from papisim.record import totals as module
from papisim.record.segment import Elapsed, PlannedStep, Segment, StepYield
from papisim.record.steps import StepKind
from papisim.record.totals import Totals


def segment(time_s: float, n: int = 2, **yielded: int) -> Segment:
    part = StepPart([Phase("gpu", Category.FC, time_s, Energy(link_j=1.0), 10.0, repeats=3)])
    run = AttentionRun(np.full(n + 1, 0.5), np.ones((len(ENERGY_PARTS), n + 1)))
    growing = ((Phase("pim", Category.ATTENTION, 0.0, Energy()), run),)
    host = (Phase("host", Category.OTHER, 0.25, Energy()),)
    plan = PlannedStep(
        StepKind.DECODE, "s", 0, 0.0, 4, 3, 8, 2, 100, np.full(n + 1, 1000), np.full(n + 1, 3 * time_s + 0.75), StepLayout([part]), host, growing,
        step_tokens=8, overlapped_s=0.1,
    )  # fmt: skip
    return Segment(plan, Elapsed.of(plan.times_s, n, 0.5), StepYield(**{"last_tokens": 5, **yielded}))


def test_what_each_step_has_counts_once_per_step_that_ran():
    totals = Totals()
    totals.add(segment(1.0, 2, first_tokens=1, drafted=4, accepted=3))
    assert (totals.n_steps, totals.rounds, totals.prompt_tokens) == (2, 6, 4)
    assert (totals.drafted, totals.accepted) == (8, 6)
    assert (totals.tokens, totals.round_tokens) == (13, 12)
    assert totals.time_s == 2 * 3.75 + 0.5
    assert (totals.stalled_s, totals.overlapped_s) == (0.5, pytest.approx(0.2))
    assert totals.sums().busy_by == {"gpu": 6.0, "pim": 1.0, "host": 0.5}, "the step that was cut off did not run"
    assert totals.sums().fc_flop_by == {"gpu": 60}


def test_sums_are_the_same_when_parts_are_added_up_on_the_way(monkeypatch: pytest.MonkeyPatch):
    def sums(kept: int) -> dict[str, float]:
        monkeypatch.setattr(module, "PARTS_KEPT", kept)
        totals = Totals()
        for number in range(10):
            totals.add(segment(number + 1.0))
        assert len(totals.parts) <= kept
        return totals.sums().busy_by

    assert sums(2) == pytest.approx(sums(1000), rel=1e-12)
