"""Closed forms a reader can work out by hand."""

import pytest

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.timing import Sweep, refreshes, sustained, sweep_cycles
from papisim.ops.kernel import Attention, FcRole, Linear

LLAMA65B_LAYER = [(8192, 24576), (8192, 8192), (8192, 22016), (8192, 22016), (22016, 8192)]


def pool(name, count, *overrides):
    return Pool(name, load_part(name, overrides).part, count)


def iteration(device, m, layers=80):
    return layers * sum(device.price(Linear(FcRole.QKV, m, k, n)).time_s for k, n in LLAMA65B_LAYER)


def test_a_full_row_takes_its_columns_and_a_turn_of_46_cycles():
    timing = load_part("attacc").part.timing
    one, two = (sweep_cycles(timing, Sweep(32 * rows, 32, 6))[0] for rows in (1, 2))
    assert two - one == 31 * 6 + timing.rtp + timing.rp + timing.rcd


def test_units_busy_longer_than_a_turn_hide_it():
    timing = load_part("attacc").part.timing
    one, two = (sweep_cycles(timing, Sweep(32 * rows, 32, 60))[0] for rows in (1, 2))
    assert two - one == 32 * 60


@pytest.mark.parametrize(("last", "count"), [(0, 0), (5069, 0), (5070, 1), (9683, 1), (9684, 2), (14298, 3)])
def test_the_jth_refresh_is_met_at_j_intervals_less_the_refreshes_before(last, count):
    assert refreshes(load_part("attacc").part.timing, last) == count


def test_sustained_work_loses_the_share_of_time_that_refresh_takes():
    assert sustained(load_part("attacc").part.timing, 4614) == 5070


@pytest.mark.parametrize(
    ("name", "overrides", "columns_per_bank", "gap"),
    [("attacc", ("power_limited=false",), 132e3, 4), ("attacc", (), 132e3, 6), ("fc_pim", (), 176e3, 4)],
)
def test_llama65b_fc_on_30_stacks_takes_its_columns_and_at_most_half_as_much_again(
    name, overrides, columns_per_bank, gap
):
    device = pool(name, 30, *overrides)
    columns_s = columns_per_bank * gap * device.part.timing.tck_s
    assert 1.2 * columns_s < iteration(device, 1) < 1.7 * columns_s, (
        "rows, refresh, padding and transfers come on top"
    )


def test_four_token_rows_on_fc_pim_take_half_a_millisecond_of_columns():
    assert 0.54e-3 < iteration(pool("fc_pim", 30), 4) < 1.0e-3


def test_figure_12_bars_are_met_within_their_softness():
    assert iteration(pool("attacc", 30), 16) == pytest.approx(8e-3, rel=0.15)
    assert iteration(pool("fc_pim", 30), 16) == pytest.approx(2.8e-3, rel=0.15)


def test_fc_pim_meets_the_gpu_near_rlp_tlp_50_and_attacc_near_15():
    gpu_s = 7.6e-3
    assert iteration(pool("fc_pim", 30), 32) < gpu_s < iteration(pool("fc_pim", 30), 64)
    assert iteration(pool("attacc", 30), 12) < gpu_s < iteration(pool("attacc", 30), 24)


def test_attention_reads_k_and_v_once_at_the_internal_bandwidth():
    device = pool("attacc", 1, "power_limited=false", "refresh=from_idle")
    pairs, kv = 320, 8192
    kernel = Attention(pairs, pairs, pairs * kv, kv, pairs * kv, 1, 1, 128)
    peak_bytes_per_s = 1024 * 32 / (4 * device.part.timing.tck_s)
    turns, refresh = (31 * 4 + 46) / 128, 5070 / (5070 - 456)
    assert device.price(kernel).time_s == pytest.approx(
        kernel.kv_bytes / peak_bytes_per_s * turns * refresh, rel=0.03
    )
