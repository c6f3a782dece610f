"""Timing tables of standards, and what they limit: activations, the command bus, refresh, writes."""

from itertools import pairwise

import pytest

from papisim import catalog
from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.commands import Op
from papisim.devices.pim.scheduler import Channel
from papisim.devices.pim.timing import load_timing
from papisim.errors import InputError
from papisim.ops.kernel import FcRole, KvAppend, Linear

STANDARDS = {name: load_timing(path) for name, path in catalog.shipped(catalog.Shelf.DRAM).items()}
KERNEL = Linear(FcRole.QKV, 1, 1024, 8192)


def pool(name, *overrides):
    return Pool(name, load_part(name, overrides).part, 1)


def test_every_standard_that_architects_compare_has_a_table():
    for standard in ("hbm2", "hbm3", "hbm3e", "hbm4", "gddr6", "gddr6_aim", "lpddr5x", "lpddr6"):
        assert any(name.startswith(f"{standard}_") for name in STANDARDS), standard


@pytest.mark.parametrize(
    ("name", "rate_gbps"), [("hbm2_2000", 2), ("hbm3_5200", 5.2), ("hbm3e_6250", 6.25), ("hbm4_8000", 8)]
)
def test_two_cycles_of_an_hbm_table_pass_a_column_at_the_rate_of_the_pins(name, rate_gbps):
    """32 B over the 64 pins of an HBM2 pseudo-channel, or over the 32 pins of a later one."""
    pins = 64 if name.startswith("hbm2") else 32
    assert 2 * STANDARDS[name].tck_s == pytest.approx(256 / (pins * rate_gbps * 1e9), rel=0.001)


@pytest.mark.parametrize("name", STANDARDS)
def test_activations_keep_to_trrd_tfaw_and_the_command_bus(name):
    """Sixteen commands open a row: each tRRD after the one before, no five in a window of tFAW."""
    overrides = [f"timing={name}", "banks_per_activate=2", "refresh=from_idle", "power_limited=false"]
    part = load_part("attacc", overrides).part
    units = Pool("p", part, 1)
    assert part.activates == 16
    commands, rules = units.commands(KERNEL)
    channel = Channel(part.timing, rules)
    cycles = channel.run(commands)
    assert units.priced(KERNEL).cycles == cycles
    opened = [cycle for cycle, command in channel.issued if command.op in {Op.ACTIVATE, Op.ACTIVATE_MORE}]
    apart = [later - one for one, later in pairwise(opened)]
    assert min(apart) >= max(part.timing.rrd, part.timing.act_cycles)
    assert min(fifth - first for first, fifth in zip(opened, opened[4:], strict=False)) >= part.timing.faw


def test_opening_rows_in_groups_costs_their_span_for_each_row():
    whole, groups = (
        pool("attacc", "power_limited=false", "refresh=from_idle", *more) for more in ((), ("banks_per_activate=4",))
    )
    rows = groups.priced(KERNEL).activity.activations / 1024
    span = 39 + 3 * 2  # eight commands: two windows of four, tFAW apart, then three times tRRD
    assert groups.part.timing.span(8) == span
    more = groups.priced(KERNEL).cycles - whole.priced(KERNEL).cycles
    assert 0 < more == pytest.approx(rows * span, abs=span)


def test_lock_step_banks_wait_for_the_refresh_of_each():
    """HBM3: 260 cycles for each of a pseudo-channel's 32 banks do not fit 5,070; HBM2's 160 cycles for 16 banks fit 3,900."""
    with pytest.raises(InputError, match=r"timing.rfc_pb 260, expected less than refi / 32 banks = 158"):
        pool("attacc", "refresh_mode=per_bank")
    together, apart = (
        pool("hbm_pim", "refresh=sustained", f"refresh_mode={mode}") for mode in ("all_bank", "per_bank")
    )
    ratio = apart.price(KERNEL).time_s / together.price(KERNEL).time_s
    assert ratio == pytest.approx((243 / (243 - 160)) / (3900 / (3900 - 350)), rel=0.01)
    with pytest.raises(InputError, match="no rfc_pb"):
        pool("hbm4_pim", "refresh_mode=per_bank")


def test_a_write_waits_for_its_own_trcd():
    kernel = KvAppend(1, 8, 128)
    slow, fast = (pool("attacc", "timing=hbm4_8000", f"timing.rcd_wr={cycles}") for cycles in (39, 19))
    assert slow.priced(kernel).cycles_from_idle - fast.priced(kernel).cycles_from_idle == 20


def test_groups_of_banks_need_the_limits_of_activations():
    with pytest.raises(InputError, match=r"banks_per_activate, expected timing.rrd and timing.faw"):
        pool("hbm4_pim", "banks_per_activate=4")
