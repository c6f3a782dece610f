"""Against cycle-level counts of others: AttAcc's Ramulator 2 runs and Samsung's HBM-PIM simulator."""

import csv

import pytest

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.ops.kernel import Attention, FcRole, Linear
from papisim.validation.pim import MEAN_LIMIT, POINT_LIMIT, golden_points, published, summary


@pytest.mark.shared_data
def test_the_released_mapping_meets_every_golden_count(data):
    points = golden_points(data("golden"), "attacc_released")
    assert {point.power_limited for point in points} == {True, False}
    assert [point for point in points if abs(point.error) > POINT_LIMIT] == []
    for row in summary(points):
        assert row.mean_abs_error <= MEAN_LIMIT


@pytest.mark.shared_data
def test_the_physical_mapping_tells_the_same_story_on_long_caches(data):
    points = [point for point in golden_points(data("golden"), "physical") if point.kv >= 1024]
    assert max(abs(point.error) for point in points) < 0.20, "a lone head's softmax stands in the open"


@pytest.mark.shared_data
def test_the_released_mapping_issues_as_many_macs_as_the_released_generator(data):
    released = Pool("attacc", load_part("attacc", ["mapping=attacc_released"]).part, 1)
    for path in data("golden").glob("ramulator_hbm3pim_attention*.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                heads, kv = int(row["nheads_per_hbm"]), int(row["seqlen"])
                kernel = Attention(heads, heads, heads * kv, kv, heads * kv, 1, 1, int(row["dhead"]))
                assert released.priced(kernel).activity.columns == 64 * int(row["mac_ab"])


@pytest.mark.parametrize(
    ("heads", "kv", "limited", "cycles"),
    [
        (1, 128, True, 273),
        (16, 2048, True, 3810),
        (16, 2048, False, 2818),
        (26, 544, True, 2111),
        (39, 1024, True, 6040),
    ],
)
def test_a_few_golden_counts_are_met_without_the_tables(heads, kv, limited, cycles):
    overrides = ["mapping=attacc_released", f"power_limited={str(limited).lower()}"]
    pool = Pool("attacc", load_part("attacc", overrides).part, 1)
    kernel = Attention(heads, heads, heads * kv, kv, heads * kv, 1, 1, 128)
    assert pool.priced(kernel).cycles == pytest.approx(cycles, rel=0.005)


def test_samsungs_gemv_is_met_within_a_tenth():
    pool = Pool("hbm_pim", load_part("hbm_pim").part, 4)
    assert pool.priced(Linear(FcRole.QKV, 1, 4096, 4096)).cycles == pytest.approx(13_166, rel=0.10)


def test_every_published_figure_that_is_promised_is_met():
    figures = published()
    assert [figure.what for figure in figures if figure.within is False] == []
    shown = {figure.what: figure.error for figure in figures if figure.within is None}
    assert len(shown) == 2, "the two ratios of Figure 12"
    assert all(abs(error) < 0.12 for error in shown.values())


@pytest.mark.parametrize(("m", "cycles"), [(1, 7_776), (4, 32_924)])
def test_gemv_on_gddr6_aim_takes_the_cycles_of_its_presets(m, cycles):
    """4096 × 4096 by hand from the AiM simulator's presets (commit 0f28a07): 8 outputs a bank are 32 rows of 64 columns.

    A row takes 56 + 63·2 + 12 + 32 = 226 cycles; the inputs, 4 × 64 columns, 512; the results of 16 banks 32. Each token-row
    repeats that, and four refreshes of 455 fall into four.
    """
    assert m * (32 * (56 + 63 * 2 + 12 + 32) + 4 * 64 * 2 + 16 * 2) + 455 * (4 if m == 4 else 0) == cycles
    aim = Pool("aim", load_part("aim").part, 1)
    assert aim.priced(Linear(FcRole.QKV, m, 4096, 4096)).cycles_from_idle == cycles
