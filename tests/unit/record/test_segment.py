"""Segments by hand: three iterations of 1, 2 and 3 s, of which attention takes all but half a second."""

import numpy as np
import pytest

from papisim.devices.base import AttentionRun
from papisim.ops.cost import ENERGY_PARTS, Energy
from papisim.plan.layout import StepLayout, StepPart
from papisim.plan.phase import Category, Phase
from papisim.policies.placement.base import Operator
from papisim.record.segment import Elapsed, PlannedStep, Segment, StepYield
from papisim.record.steps import StepKind

TIMES_S = np.array([1.0, 2.0, 3.0])
FC = Phase("gpu", Category.FC, 0.2, Energy(), 100.0, repeats=2)
HOST = Phase("host", Category.OTHER, 0.1, Energy())


def growing() -> tuple[Phase, AttentionRun]:
    energy_j = np.zeros((len(ENERGY_PARTS), 3))
    energy_j[0] = [1.0, 2.0, 4.0]
    return Phase("pim", Category.ATTENTION, 0.0, Energy()), AttentionRun(TIMES_S - 0.5, energy_j)


def plan(**fields: object) -> PlannedStep:
    values = {
        "kind": StepKind.DECODE, "server": "s", "index": 7, "start_s": 10.0, "rlp": 4, "decoding": 4, "rows": 8,
        "prompt_tokens": 0, "kv_tokens": 100, "held_bytes": 10 * np.array([100, 108, 116]), "times_s": TIMES_S, "layout": StepLayout([StepPart([FC])]),
        "phases": (HOST,), "growing": (growing(),), "step_tokens": 8,
    }  # fmt: skip
    return PlannedStep(**{**values, **fields})  # type: ignore[arg-type]


def segment(n: int = 3, stalled_s: float = 0.0, last_tokens: int = 5) -> Segment:
    return Segment(plan(), Elapsed.of(TIMES_S, n, stalled_s), StepYield(last_tokens, drafted=4, accepted=4))


def test_a_plan_uses_the_devices_of_its_layout_its_phases_and_its_growing_phases():
    assert all(plan().uses(resource) for resource in ("gpu", "host", "pim"))
    assert not plan().uses("nvlink")


def test_the_last_of_the_steps_that_ran_bears_the_stall():
    elapsed = Elapsed.of(TIMES_S, 2, 0.5)
    assert (elapsed.n_steps, elapsed.times_s.tolist(), elapsed.time_s) == (2, [1.0, 2.5], 3.5)
    assert TIMES_S.tolist() == [1, 2, 3], "the plan stays as it was"


def test_every_step_but_the_last_emits_the_planned_tokens():
    assert segment().emitted == 2 * 8 + 5
    assert segment(1).emitted == 5


def test_a_step_begins_with_the_tokens_that_the_steps_before_it_cached():
    whole = segment()
    assert whole.kv_token_s == 100 * 1 + 108 * 2 + 116 * 3
    assert segment(1).kv_token_s == 100
    assert segment(2, stalled_s=1.0).kv_token_s == 100 * 1 + 108 * 3
    assert segment(2, stalled_s=1.0).kv_byte_s == 10 * (100 * 1 + 108 * 3)


def test_its_steps_add_up_to_the_segment():
    rows = list(segment().steps(static_w=2.0))
    assert [row.index for row in rows] == [7, 8, 9]
    assert [row.start_s for row in rows] == [10, 11, 13]
    assert [row.kv_tokens for row in rows] == [100, 108, 116]
    assert [row.tokens for row in rows] == [8, 8, 5]
    assert [row.time_by[Category.ATTENTION] for row in rows] == [0.5, 1.5, 2.5]
    for row in rows:
        assert sum(row.time_by.values()) == pytest.approx(row.time_s)
        assert row.energy.static_j == 2 * row.time_s
        assert (row.tlp, row.fc_device, row.fc_flop_by) == (2, "gpu", {"gpu": 200})


def test_a_truncated_segment_has_the_rows_of_the_steps_that_ran():
    rows = list(segment(2, stalled_s=0.25, last_tokens=8).steps(0.0))
    assert [(row.time_s, row.stalled_s) for row in rows] == [(1, 0), (2.25, 0.25)]
    ((_, run),) = segment(2).growing
    assert run.time_s.tolist() == [0.5, 1.5]


def test_fc_on_several_devices_is_mixed():
    other = Phase("pim", Category.FC, 1.0, Energy())
    mixed = Segment(plan(phases=(other,)), Elapsed.of(TIMES_S, 3), StepYield(0))
    assert mixed.fc_device == "mixed"
    assert segment().fc_device == "gpu"


def test_each_operator_has_a_device_or_several():
    """FC comes from the shared layout, attention from what grows; the host's work and messages are no operators."""
    (attention, run), fc = growing(), FC._replace(operator=Operator.FC)
    parts = {
        "layout": StepLayout([StepPart([fc])]),
        "growing": ((attention._replace(operator=Operator.ATTENTION), run),),
    }
    placed = Segment(plan(**parts), Elapsed.of(TIMES_S, 3), StepYield(0))
    assert placed.placed == {Operator.FC: "gpu", Operator.ATTENTION: "pim"}
    assert [row.placed for row in placed.steps(0.0)] == [placed.placed] * 3
    there = fc._replace(resource="pim")
    assert Segment(plan(**parts, phases=(HOST, there)), Elapsed.of(TIMES_S, 3), StepYield(0)).placed == {
        Operator.FC: "mixed", Operator.ATTENTION: "pim",
    }  # fmt: skip
    assert segment().placed == {}


def test_a_segment_does_not_change():
    with pytest.raises(AttributeError):
        segment().elapsed = Elapsed.of(TIMES_S, 1)  # type: ignore[misc]
    with pytest.raises(AttributeError):
        plan().rows = 3  # type: ignore[misc]
