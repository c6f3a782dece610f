"""Sums by hand, and as a linear function of what is added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.ops.cost import ENERGY_PARTS, Energy
from papisim.plan.phase import Category, Phase, seconds
from papisim.plan.sums import Sums

A = Phase("gpu", Category.FC, 2.0, Energy(link_j=1.0), 10.0, repeats=3)
B = Phase("gpu", Category.OTHER, 1.0, Energy(static_j=4.0), 5.0)
C = Phase("pim", Category.FC, 0.5, Energy(link_j=2.0), 7.0, repeats=2)

phases = st.lists(
    st.builds(
        Phase, st.sampled_from(["gpu", "pim"]), st.sampled_from(list(Category)), st.floats(0, 10),
        st.floats(0, 10).map(lambda link_j: Energy(link_j=link_j)), st.floats(0, 1e9), st.integers(1, 5),
    ),
    max_size=8,
)  # fmt: skip


def test_repetitions_count():
    sums = Sums([A, B, C])
    assert sums.time_s == 8
    assert sums.time_by == {Category.FC: 7, Category.OTHER: 1}
    assert sums.busy_by == {"gpu": 7, "pim": 1}
    assert sums.fc_flop_by == {"gpu": 30, "pim": 14}, "elementwise work is no FC"
    assert (sums.energy.link_j, sums.energy.static_j) == (7, 4)
    assert sums.energy_by["pim"].total_j == 4


def test_nothing_adds_up_to_nothing():
    assert (Sums().time_s, Sums().energy, Sums().busy_by) == (0, Energy(), {})


def test_a_cost_is_added_where_its_phase_is():
    sums = Sums([A])
    sums.add_cost(A._replace(time_s=0.0), 1.5, np.full(len(ENERGY_PARTS), 2.0))
    assert sums.time_s == 6 + 3 * 1.5
    assert sums.energy.link_j == 3 + 3 * 2
    assert sums.fc_flop_by == {"gpu": 30}


@given(phases, phases, st.integers(1, 9))
def test_scaled_sums_are_those_of_as_many_copies(one: list[Phase], other: list[Phase], factor: int):
    scaled = Sums(one)
    scaled.add_scaled(Sums(other), factor)
    copies = Sums([*one, *(other * factor)])
    assert scaled.time_s == pytest.approx(copies.time_s, rel=1e-9, abs=1e-12)
    assert scaled.energy.total_j == pytest.approx(copies.energy.total_j, rel=1e-9, abs=1e-12)
    assert scaled.busy_by == pytest.approx(copies.busy_by, rel=1e-9, abs=1e-12)
    assert Sums(one).time_s == pytest.approx(seconds(one), rel=1e-9, abs=1e-12)


def test_adding_sums_leaves_those_added_as_they_were():
    part, total = Sums([A]), Sums()
    total.add_scaled(part)
    total.add(B)
    total.add(A)
    assert part.time_s == 6
