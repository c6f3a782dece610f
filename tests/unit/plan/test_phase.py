import pytest

from papisim.ops.cost import Energy
from papisim.plan.phase import Category, Phase, seconds


def phase(time_s: float, repeats: int = 1) -> Phase:
    return Phase("gpu", Category.FC, time_s, Energy(), repeats=repeats)


def test_a_phase_takes_its_time_once_per_repetition():
    assert phase(0.25, 8).total_s == 2


def test_phases_that_follow_one_another_take_the_sum_of_all_their_repetitions():
    assert seconds([phase(1.0), phase(0.5, 4), phase(2.0, 0)]) == pytest.approx(3)
    assert seconds([]) == 0
