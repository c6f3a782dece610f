"""Golden counts and published figures: errors with their signs, and promises that can be broken."""

import csv

import pytest

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.errors import InputError
from papisim.validation.pim import Golden, dram_share, golden_points, meets_limits, published, summary

NAMES = ["dhead", "nheads_per_hbm", "seqlen", "power_constraint", "cycles"]


def points(*cycles, mapping="physical", limited=True):
    return [Golden(mapping, limited, 4, 100 + i, 128, 1000, each) for i, each in enumerate(cycles)]


def test_an_error_is_that_of_the_prediction():
    (point,) = points(1010)
    assert point.error == pytest.approx(0.01)


def test_errors_are_summed_up_by_mapping_and_power():
    rows = summary([*points(1010, 970), *points(1000, limited=False), *points(900, mapping="attacc_released")])
    assert [(row.mapping, row.power_limited, row.points) for row in rows] == [
        ("physical", True, 2), ("physical", False, 1), ("attacc_released", True, 1),
    ]  # fmt: skip
    assert (rows[0].mean_abs_error, rows[0].max_abs_error) == (pytest.approx(0.02), pytest.approx(0.03))
    assert rows[0].worst == "4 heads, KV 101: 970 for 1,000"


@pytest.mark.parametrize(
    ("cycles", "met"),
    [((1000, 1020), False), ((1000, 1000, 1000, 1000, 1019), True), ((1021, *[1000] * 9), False), ((994,), False)],
)
def test_each_count_must_be_met_within_two_percent_and_all_within_half_a_percent_on_average(cycles, met):
    (row,) = summary(points(*cycles))
    assert meets_limits(row) is met


def test_tables_are_found_below_the_folder_and_predicted_with_their_power(tmp_path):
    folder = tmp_path / "deep"
    folder.mkdir()
    with (folder / "ramulator_hbm3pim_attention_x.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([NAMES, (128, 16, 2048, 1, 3810), (128, 16, 2048, 0, 2818)])
    limited, free = golden_points(tmp_path, "attacc_released")
    assert (limited.power_limited, free.power_limited) == (True, False)
    assert abs(limited.error) < 0.005
    assert abs(free.error) < 0.005
    assert (limited.heads, limited.kv, limited.head_dim) == (16, 2048, 128)


def test_a_folder_without_counts_and_a_table_without_a_column_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no ramulator"):
        golden_points(tmp_path, "physical")
    (tmp_path / "ramulator_hbm3pim_attention.csv").write_text("dhead,seqlen\n128,64\n")
    with pytest.raises(InputError, match="no column 'nheads_per_hbm'"):
        golden_points(tmp_path, "physical")


def test_reuse_shares_an_activation_and_an_access_among_uses():
    """Papi, Figure 7: 96.7 % of a column's energy is DRAM's when it is used once, 33.1 % at 64 uses; c/(c + 64·x) says how."""
    pool = Pool("fc_pim", load_part("fc_pim").part, 1)
    once, often = dram_share(pool, 1), dram_share(pool, 64)
    assert once == pytest.approx(0.967, abs=0.02)
    compute = (1 - once) / once
    assert often == pytest.approx(1 / (1 + 64 * compute), abs=0.1)


def test_published_figures_keep_what_they_promise_and_name_their_source():
    figures = published()
    assert all(figure.within is not False for figure in figures)
    assert all(
        figure.source.startswith(("papi2025", "attacc_simulator", "samsung_pimsimulator", "hbm_power"))
        for figure in figures
    )
    by_name = {figure.what: figure for figure in figures}
    assert by_name["column gap of 1P1B from its power budget"].predicted == "6 tCK"
    assert by_name["HBM-PIM GEMV 4096 × 4096"].error == pytest.approx(0, abs=0.1)
    below = [figure for figure in figures if figure.published == "below 1"]
    above = [figure for figure in figures if figure.published == "above 1"]
    assert all(float(figure.predicted) < 1 for figure in below)
    assert all(float(figure.predicted) > 1 for figure in above)
    assert len(below) == 4
    assert len(above) == 6
