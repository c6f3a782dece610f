"""Energy tables: measured memory, bands, data, what a part takes from its table, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.system import load_part, load_system
from papisim.devices.pim import Pool
from papisim.devices.pim.energy import Activity, Terms, energy_of, fed_w, load_energy, read_j_per_byte
from papisim.errors import InputError
from papisim.ops.kernel import FcRole, KvAppend, Linear

TABLES = {name: load_energy(path) for name, path in catalog.shipped(Shelf.ENERGY).items()}
#: columns per activation of HBM-Power's random reads
COLUMNS = 4
H200_PJ_PER_BIT = {"random": (5.727, 5.868), "zeros": (5.094, 5.094)}
STACKS_OF_H200 = 6


def part(name="hbm3e_pim", *overrides):
    return load_part(name, overrides).part


def read_pj_per_bit(stack):
    return read_j_per_byte(stack.energy, stack.organisation, COLUMNS) / 8 * 1e12


def test_random_reads_of_an_h200_take_what_was_measured_above_idle():
    least, most = H200_PJ_PER_BIT["random"]
    assert least <= read_pj_per_bit(part()) <= most
    watts = read_pj_per_bit(part()) * 1e-12 * 8 * 4.52e12
    assert watts == pytest.approx((210.27 + 212.20 + 206.96) / 3, rel=0.01)


def test_reads_of_zeros_take_what_was_measured():
    assert read_pj_per_bit(part("hbm3e_pim", "energy.toggle_ratio=0")) == pytest.approx(5.094, rel=0.01)


def test_idle_power_lies_between_that_of_the_boards_and_refresh_is_a_small_share():
    stack = part()
    assert 34.75 <= STACKS_OF_H200 * stack.static_w <= 44.95
    assert 0.24 <= STACKS_OF_H200 * stack.static_w / 141 <= 0.32, "W per GB that the H200 offers"
    assert 0 < stack.refresh_w < 0.1 * stack.static_w


def test_constants_of_the_literature_are_a_quarter_below_the_measurement():
    of_2017 = read_pj_per_bit(part("hbm3e_pim", "energy=fgdram2017"))
    assert of_2017 == pytest.approx(3.48 + 909 / 1024, abs=1e-9)
    assert of_2017 / 5.80 == pytest.approx(0.75, abs=0.01)


def test_hbm4_comes_within_five_percent_of_the_published_extrapolation():
    """HBM-Power: 6.73 pJ/b at 8 Gb/s, idle power included, at 91 % of the peak bandwidth."""
    stack = part("hbm4_pim", "energy=hbm4_extrapolated")
    idle = stack.static_w / (0.91 * 2.048e12 * 8) * 1e12
    assert read_pj_per_bit(stack) + idle == pytest.approx(6.73, rel=0.05)


def test_hbm2_rails_add_up_to_the_published_currents():
    """1.2 V × (202.769 − 12.394) mA × 3.33 ns over 256 bits with constant data, and 1.62 to 1.67 times that with random data."""
    organisation, table = part("hbm_pim").organisation, TABLES["hbm2_measured"]
    without = read_j_per_byte(table, organisation, 1e12) / 8 * 1e12
    constant = read_j_per_byte(table.model_copy(update={"toggle_ratio": 0.0}), organisation, 1e12) / 8 * 1e12
    assert constant == pytest.approx(1.2 * (202.769 - 12.394) * 2 * 1.66667 / 256, rel=0.01)
    assert 1.62 <= without / constant <= 1.68


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_term_of_a_shipped_table_has_a_band_around_it(name):
    table = TABLES[name]
    for term in Terms.model_fields:
        if getattr(table, term) is not None:
            assert getattr(table.low, term) <= getattr(table, term) <= getattr(table.high, term)


@pytest.mark.parametrize("name", ["fc_pim", "hbm3e_pim", "hbm4_pim"])
def test_energy_power_and_idle_power_rise_with_the_band(name):
    stacks = [part(name, f"energy.band={band}") for band in ("low", "typical", "high")]
    kernel = Linear(FcRole.QKV, 4, 4096, 4096)
    joules = [Pool(name, stack, 4).price(kernel).energy.total_j for stack in stacks]
    watts = [fed_w(4, stack.energy, stack.organisation, stack.fpu) for stack in stacks]
    for rising in (joules, watts, [stack.static_w for stack in stacks]):
        assert rising[0] < rising[1] <= rising[2]


def test_a_higher_band_lengthens_the_column_gap_that_the_budget_leaves():
    gaps = [Pool("p", part("attacc", f"energy.band={band}"), 1).column_gap(1) for band in ("low", "typical", "high")]
    assert gaps == sorted(gaps)
    assert gaps[0] < gaps[-1]


@settings(max_examples=50, deadline=None)
@given(ratio=st.floats(0, 1), name=st.sampled_from(sorted(TABLES)), band=st.sampled_from(["low", "typical", "high"]))
def test_energy_rises_with_toggling_and_is_never_negative(ratio, name, band):
    table = TABLES[name].model_copy(update={"toggle_ratio": ratio, "band": band})
    more = table.model_copy(update={"toggle_ratio": min(1.0, ratio + 0.1)})
    for term in ("column_j_per_byte", "data_path_j_per_byte"):
        assert 0 <= getattr(table.used, term) <= getattr(more.used, term)


def test_data_change_what_leaves_the_bank_and_not_the_array():
    organisation, fpu = part().organisation, part().fpu
    zero, random = (part("hbm3e_pim", f"energy.toggle_ratio={ratio}").energy for ratio in (0, 0.5))
    in_bank, out = Activity(activations=1, columns=32, macs=512), Activity(data_path_bytes=1024)
    assert energy_of(in_bank, zero, organisation, fpu) == energy_of(in_bank, random, organisation, fpu)
    assert energy_of(out, zero, organisation, fpu).total_j < energy_of(out, random, organisation, fpu).total_j


def test_new_caches_are_written_at_the_energy_of_the_data_path():
    joules = [
        Pool("p", part("hbm3e_pim", f"energy.toggle_ratio={ratio}"), 1).price(KvAppend(1 << 20)).energy
        for ratio in (0, 0.5)
    ]
    assert joules[1].dram_transfer_j - joules[0].dram_transfer_j == pytest.approx((1 << 20) * 8 * 0.717e-12)


def test_static_power_follows_the_table_unless_a_part_gives_it():
    assert part("fc_pim").static_w == 6
    assert part("attacc").static_w == 8
    measured = part("attacc", "energy=hbm3e_measured")
    assert measured.static_w == pytest.approx(16 * (0.2544 + 0.0124))
    assert part("attacc", "energy=hbm3e_measured", "static_w=3 W").static_w == 3


def test_terms_can_be_written_in_the_part_and_then_need_a_static_power(tmp_path):
    text = catalog.shipped(Shelf.DEVICE)["attacc"].read_text(encoding="utf-8")
    terms = (
        "{activation_j: 1 nJ, column_j_per_byte: 1 pJ/b, to_fpu_j_per_byte: 0, data_path_j_per_byte: 2 pJ/b, "
        "fpu_j_per_flop: 0, logic_j_per_flop: 0}"
    )
    text = text.replace("energy: fgdram2017", f"energy: {terms}").replace(
        "sources:", "sources:\n  energy: {assumed: mine}\n  static_w: {assumed: mine}"
    )
    (tmp_path / "bare.yaml").write_text(text.replace("  static_w: {assumed: mine}\n", ""), encoding="utf-8")
    with pytest.raises(InputError, match="'static_w' is missing"):
        load_part(str(tmp_path / "bare.yaml"))
    (tmp_path / "own.yaml").write_text(
        text.replace("capacity_bytes: 16", "static_w: 5 W\ncapacity_bytes: 16"), encoding="utf-8"
    )
    own = load_part(str(tmp_path / "own.yaml")).part
    assert (own.static_w, own.refresh_w, own.energy_source) == (5, None, "in the part")


def test_a_table_of_ones_own_is_read_from_its_file_with_its_sources(tmp_path):
    text = catalog.shipped(Shelf.ENERGY)["hbm3e_measured"].read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("1716 pJ", "1000 pJ"), encoding="utf-8")
    device = load_part("attacc", [f"energy={file}", "energy.fpu_j_per_flop=0.2 pJ/FLOP"])
    assert device.part.energy.activation_j == pytest.approx(1e-9)
    assert device.part.energy_source == "mine"
    origins = {source.path: source.origin for source in device.sources if source.file == str(file)}
    assert origins["fpu_j_per_flop"] == "override"
    assert origins["to_fpu_j_per_byte"] == "fitted"


def test_tables_of_a_system_can_differ_and_be_named_in_one_go():
    system = load_system(
        "papi",
        [
            "devices.attn_pim.part=hbm3e_pim",
            "devices.fc_pim.part.energy=hbm3e_measured",
            "devices.fc_pim.part.energy.band=high",
        ],
    )
    assert system.parts["fc_pim"].energy_source == "hbm3e_measured, high values"
    assert system.parts["attn_pim"].energy_source == "hbm3e_measured"
    files = {source.file.rpartition("/")[2] for source in system.sources}
    assert "hbm3e_measured.yaml" in files
    assert "fgdram2017.yaml" not in files


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("energy=fgdram2018", "no energy table 'fgdram2018'.*fgdram2017"),
        ("energy.band=middle", "energy.band"),
        ("energy.toggle_ratio=1.5", "less than or equal to 1"),
        ("energy.colum_j_per_byte=1 pJ/b", "column_j_per_byte"),
    ],
)
def test_what_is_wrong_in_a_table_is_refused_with_its_place(override, message):
    with pytest.raises(InputError, match=message):
        part("hbm3e_pim", override)


def test_a_band_that_a_table_does_not_have_is_refused():
    with pytest.raises(InputError, match="expected 'typical'"):
        part("hbm3e_pim", "energy.low=null", "energy.band=low")


def test_a_file_whose_bands_do_not_lie_around_the_typical_value_is_refused_and_an_override_beyond_them_is_not(
    tmp_path,
):
    text = catalog.shipped(Shelf.ENERGY)["hbm3e_measured"].read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("1716 pJ", "5 nJ", 1), encoding="utf-8")
    with pytest.raises(InputError, match=r"activation_j: found 8\.69e-10 to 1\.905e-09 around it"):
        load_energy(tmp_path / "mine.yaml")
    assert part("hbm3e_pim", "energy.activation_j=5 nJ").energy.used.activation_j == 5e-9


def test_measured_energies_put_papis_fc_pim_beyond_its_budget_and_only_fewer_banks_stay_within():
    def fed(*overrides):
        stack = part("fc_pim", "energy=hbm3e_measured", *overrides)
        return fed_w(4, stack.energy, stack.organisation, stack.fpu)

    assert fed() == pytest.approx(139.5, abs=0.1)
    fewer = ["organisation.banks_per_group=3", "capacity_bytes=9 GiB"]
    assert fed(*fewer) == pytest.approx(0.75 * fed())
    assert fed(*fewer) < 116 < fed()
    columns = [
        Pool("p", part("fc_pim", f"energy={name}"), 1).occupancy(4) for name in ("fgdram2017", "hbm3e_measured")
    ]
    assert columns == [4, 6]
