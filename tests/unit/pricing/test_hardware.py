"""Figures of devices are those of their parts' numbers and of the papers' equations."""

import pytest

from papisim.api.hardware import describe
from papisim.config.sources import EXTENDS, Source
from papisim.config.system import load_part
from papisim.devices.base import DevicePool
from papisim.errors import NotModelled
from papisim.pricing.hardware import device_figures, hardware
from papisim.pricing.kernel import pool_of


def test_the_figures_of_fc_pim_are_those_of_its_banks_and_units():
    (stack,) = describe("fc_pim").devices
    banks, units = 768, 4 * 768
    assert stack.capacity_bytes == banks * 2**24
    assert stack.die_area_mm2 == pytest.approx(banks / 8 * (0.83 + 4 * 0.1025))  # PAPI, equation 3
    assert stack.area_mm2 == pytest.approx(8 * stack.die_area_mm2)
    assert stack.peak_flop_per_s == pytest.approx(units * 16 * 2 * 666e6 / 2)
    assert stack.ridge_flop_per_byte == pytest.approx(stack.peak_flop_per_s / stack.bandwidth_bytes_per_s)


def test_a_machine_is_the_sum_of_its_devices():
    papi, stack = describe("papi"), describe("fc_pim").devices[0]
    fc_pim = next(each for each in papi.devices if each.name == "fc_pim")
    assert fc_pim.count == 30
    for name in ("capacity_bytes", "peak_flop_per_s", "bandwidth_bytes_per_s", "static_w", "budget_w", "area_mm2"):
        assert getattr(fc_pim, name) == pytest.approx(30 * getattr(stack, name)), name
    assert fc_pim.die_area_mm2 == stack.die_area_mm2
    assert papi.capacity_bytes == pytest.approx(sum(each.capacity_bytes for each in papi.devices))
    assert papi.pim_area_mm2 == pytest.approx(sum(each.area_mm2 or 0 for each in papi.devices))
    assert papi.parallel.tensor_ranks == 6


def test_areas_name_their_level_their_node_and_their_source():
    duplex = describe("duplex")
    (units,) = next(each for each in duplex.devices if each.name == "pim").units
    assert (units.level, units.units, units.node_nm) == ("base_die", 1024, 7)
    assert units.area_mm2 == pytest.approx(1024 * units.unit_mm2)
    assert any("duplex2024" in each and "area.levels" in each for each in duplex.area_sources)
    assert describe("h100").devices[0].units == []


class Memory(DevicePool):
    """Devices that only store."""

    def price(self, kernel):
        raise NotModelled("kernels of a memory")


def test_peaks_that_a_kind_does_not_have_are_null():
    found = device_figures(Memory("store", load_part("h100").part, 2))
    assert (found.peak_flop_per_s, found.bandwidth_bytes_per_s, found.ridge_flop_per_byte) == (None, None, None)
    assert (found.budget_w, found.die_area_mm2, found.area_mm2) == (None, None, None)
    assert found.capacity_bytes == 160e9


def test_sources_are_counted_without_the_chain_of_files():
    sources = [
        Source("a/mine.yaml", "extends", EXTENDS, "fc_pim"),
        Source("a/mine.yaml", "fpu", "assumed", "a guess"),
        Source("fc_pim.yaml", "power", "papi2025", "Figure 7"),
    ]
    found = hardware("mine", "a part", [pool_of(load_part("fc_pim"), 1)], [], sources)
    assert (found.extends, found.n_sources, found.n_assumptions) == (["mine.yaml: fc_pim"], 2, 1)
    assert (found.parallel, found.placement) == (None, None)
