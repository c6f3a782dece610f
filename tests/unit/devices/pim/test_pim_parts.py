"""What a part says: organisation, FPUs, area, power, and what is refused."""

import pytest

from papisim import catalog
from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.energy import column_energy, fed_w, streaming_w
from papisim.devices.pim.organisation import Fpu
from papisim.errors import DoesNotFit, InputError

SHIPPED = catalog.shipped(catalog.Shelf.DEVICE)
PIM_PARTS = [name for name in SHIPPED if load_part(name).part.kind == "pim"]


def part(name="attacc", *overrides):
    return load_part(name, overrides).part


def fpu(fpus, per_banks):
    return Fpu(fpus=fpus, per_banks=per_banks, lanes=16, clock_hz=666e6, cycles_per_column=2)


@pytest.mark.parametrize(
    ("name", "bandwidth", "flop_per_byte"),
    [
        ("duplex_pim", 4 * 665.8e9, 8),
        ("lpddr5x_pim", 614.4e9, 1),
        ("cxl_pnm", 1.092e12, 4),
        ("hbm4_base_pim", 2.048e12, 16),
    ],
)
def test_units_get_the_bandwidth_that_is_published_and_work_at_their_intensity(name, bandwidth, flop_per_byte):
    """Duplex: four times the pins, eight operations per byte. LPDDR5X-PIM: 614 GB/s. CXL-PNM: 1.1 TB/s."""
    stack = Pool(name, part(name), 1)
    assert stack.bandwidth_bytes_per_s == pytest.approx(bandwidth, rel=0.001)
    assert stack.peak_flop_per_s / stack.bandwidth_bytes_per_s == pytest.approx(flop_per_byte, rel=0.001)


def test_a_module_of_cxl_pnm_holds_512_gib():
    assert part("cxl_pnm").capacity_bytes == 512 * 2**30


def test_a_stack_of_1024_banks_holds_16_gib_and_fc_pim_three_quarters_of_that():
    assert part("attacc").organisation.banks == 1024
    assert part("attacc").capacity_bytes == 16 * 2**30
    assert part("fc_pim").organisation.banks == 768
    assert part("fc_pim").capacity_bytes == 12 * 2**30


def test_capacity_that_contradicts_the_banks_is_refused():
    with pytest.raises(InputError, match="banks × bank_bytes"):
        part("attacc", "capacity_bytes=8 GiB")


@pytest.mark.parametrize(
    ("fpus", "per_banks", "rows", "turns"),
    [(4, 1, 1, 1), (4, 1, 4, 1), (4, 1, 5, 2), (1, 1, 3, 3), (1, 2, 3, 3), (3, 2, 3, 2), (2, 3, 1, 1)],
)
def test_units_of_a_bank_share_token_rows(fpus, per_banks, rows, turns):
    assert fpu(fpus, per_banks).turns(rows) == turns


@pytest.mark.parametrize(("fpus", "per_banks", "banks"), [(4, 1, 1), (1, 1, 1), (1, 2, 2), (2, 3, 2), (1, 4, 4)])
def test_banks_that_share_a_unit_take_turns(fpus, per_banks, banks):
    assert fpu(fpus, per_banks).banks_in_turn == banks


def test_a_unit_of_two_banks_needs_twice_the_column_commands():
    for name, commands in (("attacc", 1), ("attn_pim", 2)):
        geometry = Pool(name, part(name), 1).geometry
        assert geometry.sweep(10, 1, geometry.columns(2)).columns == 10 * commands
        assert geometry.sweep(10, 1, geometry.columns(2)).rows == 1, "one activation opens the rows of both banks"


def test_equation_4_leaves_97_banks_a_die_of_which_96_are_built():
    area = part("fc_pim").area
    assert area.most_banks(4) == 97
    assert part("fc_pim").organisation.banks / area.dies == 96
    assert area.used_mm2(97, 4) <= area.die_mm2 < area.used_mm2(98, 4)


def test_units_on_the_base_die_take_area_of_that_die_alone():
    duplex, attacc = part("duplex_pim"), part("attacc")
    (units,) = duplex.unit_areas
    assert (units.level, units.units, units.node_nm) == ("base_die", 1024, 7)
    assert units.area_mm2 == pytest.approx(0.1471 * 121, rel=0.01)
    assert duplex.die_area_mm2 == pytest.approx(attacc.die_area_mm2 - 128 * 0.1025)
    assert duplex.area_mm2 == pytest.approx(8 * duplex.die_area_mm2 + units.area_mm2)
    assert attacc.unit_areas[0][2:] == (0.1025, 22)


def test_units_of_all_levels_on_dram_dies_share_them():
    further = "further_levels={bank_group: {fpu: {fpus: 1, per_banks: 4, lanes: 16, clock_hz: 666e6, cycles_per_column: 2}, buffers: {operand_bytes: 8192, result_bytes: 4096}}}"
    both = part("attacc", further, "area.die_mm2=123 mm2")
    assert both.die_area_mm2 == pytest.approx(128 * (0.83 + 1.25 * 0.1025))
    with pytest.raises(DoesNotFit, match="128 banks a die with 1P1B and 1P4B"):
        part("attacc", further)


def test_units_that_the_base_die_does_not_hold_are_refused():
    with pytest.raises(DoesNotFit, match=r"8192 units on the base die.*fewer units"):
        part("duplex_pim", "fpu.fpus=64")


def test_nodes_and_areas_of_levels_leave_prices_as_they_are():
    assert part("attacc").decisive() == part("attacc", "area.node_nm=7").decisive()


@pytest.mark.parametrize(
    ("name", "override"), [("fc_pim", "fpu.fpus=5"), ("attacc", "fpu.fpus=4"), ("attn_pim", "area.die_mm2=100 mm2")]
)
def test_fpus_that_do_not_fit_their_die_are_refused_with_levers(name, override):
    with pytest.raises(DoesNotFit, match="fewer FPUs for each bank") as refused:
        part(name, override)
    assert refused.value.demand > refused.value.bound
    assert refused.value.unit == "mm² of a die"


def test_figure_7_shares_come_out_of_the_energy_table():
    fc_pim = part("fc_pim")
    for reuse, published in ((1, 0.967), (64, 0.331)):
        energy = column_energy(reuse, fc_pim.energy, fc_pim.organisation, fc_pim.fpu)
        share = (energy.dram_activation_j + energy.dram_access_j) / energy.total_j
        assert share == pytest.approx(published, abs=0.02)


@pytest.mark.parametrize(
    ("name", "reuse", "over"),
    [("attacc", 1, True), ("attn_pim", 1, False), *(("fc_pim", reuse, reuse < 4) for reuse in (1, 2, 3, 4, 5, 64))],
)
def test_figure_7c_power_of_fed_fpus_crosses_the_budget_where_the_paper_says(name, reuse, over):
    stack = part(name)
    assert (fed_w(reuse, stack.energy, stack.organisation, stack.fpu) > stack.power.budget_w) is over


def test_the_power_limited_gap_is_the_shortest_in_whole_bursts_within_the_budget():
    stack = part("attacc")
    gap = Pool("attacc", stack, 1).column_gap(1)

    def watts(cycles):
        return streaming_w(1, cycles * stack.timing.tck_s, stack.energy, stack.organisation, stack.fpu)

    assert gap == 6, "AttAcc's released power-limited gap"
    assert watts(gap) <= stack.power.budget_w < watts(gap - stack.timing.burst)


@pytest.mark.parametrize("name", ["fc_pim", "attn_pim", "hbm_pim_hbm3"])
def test_no_other_hbm3_stack_is_slowed_by_its_power(name):
    assert Pool(name, part(name), 1).column_gap(1) == part(name).timing.column_gap


def test_power_limit_can_be_lifted():
    assert Pool("attacc", part("attacc", "power_limited=false"), 1).column_gap(1) == 4


@pytest.mark.parametrize("name", PIM_PARTS)
def test_every_shipped_stack_keeps_its_budget_at_every_reuse(name):
    stack = part(name, "power_limited=true")
    pool = Pool(name, stack, 1)
    for reuse in (1, 2, 3, 4, 8, 64):
        column_s = pool.occupancy(reuse) * stack.timing.tck_s
        assert streaming_w(reuse, column_s, stack.energy, stack.organisation, stack.fpu) <= stack.power.budget_w


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("timing.rc=100", "tRC is their sum"),
        ("timing.rfc=6000", "no time would be left"),
        ("channels_per_head=17", "at most the stack's channels"),
        ("mapping=attacc", "attacc_released"),
    ],
)
def test_impossible_parts_are_refused(override, message):
    with pytest.raises(InputError, match=message):
        part("attacc", override)
