"""Energy adds up part by part, and costs repeat."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.ops.cost import ENERGY_PARTS, Cost, Energy

joules = st.floats(0, 1e6)
energies = st.builds(Energy, *[joules] * len(ENERGY_PARTS))


def test_the_parts_are_named_in_the_order_in_which_they_stand():
    energy = Energy(*range(8))
    assert ENERGY_PARTS == (
        "dram_activation_j", "dram_access_j", "dram_transfer_j", "pim_compute_j",
        "gpu_compute_j", "gpu_memory_j", "link_j", "static_j",
    )  # fmt: skip
    assert dict(energy.items()) == {name: getattr(energy, name) for name in ENERGY_PARTS}
    assert [energy.dram_access_j, energy.link_j] == [1, 6]


@given(energies, energies)
def test_energies_add_up_part_by_part(one, other):
    assert [*(one + other)] == [a + b for a, b in zip(one, other, strict=True)]
    assert (one + other).total_j == pytest.approx(one.total_j + other.total_j)


@given(energies, st.floats(0, 1e3))
def test_a_multiple_of_an_energy_multiplies_each_part(energy, factor):
    assert [*(energy * factor)] == [factor * part for part in energy]
    assert factor * energy == energy * factor


def test_the_total_counts_every_part_once():
    assert Energy(*[1.0] * 8).total_j == 8
    for name in ENERGY_PARTS:
        assert Energy(**{name: 3.0}).total_j == 3, name
    assert Energy().total_j == 0


def test_a_repeated_cost_takes_time_and_energy_as_often_and_has_the_same_bound():
    assert Cost(2.0, "memory", Energy(link_j=3.0)) * 4 == Cost(8.0, "memory", Energy(link_j=12.0))
