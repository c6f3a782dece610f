"""Timing tables of standards, and what they limit: activations, the command bus, refresh, writes."""

from bisect import bisect_left
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
    assert part.counts.activates == 16
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


BY_THE_BANK = ("moves_beside_macs=false", "power_limited=false", "refresh=from_idle")


@pytest.mark.parametrize("cycles", [1, 2])
def test_columns_without_a_command_for_all_banks_come_at_the_pace_of_the_command_bus(cycles):
    """32 banks of a pseudo-channel, each by a command of its own: one column per command, not 32 every four cycles."""
    stacks = pool("attacc", *BY_THE_BANK, "banks_per_mac=1", f"timing.column_cycles={cycles}")
    organisation, timing = stacks.part.organisation, stacks.part.timing
    commands_per_s = organisation.channels * organisation.pseudo_channels / (cycles * timing.tck_s)
    assert stacks.bandwidth_bytes_per_s == pytest.approx(commands_per_s * organisation.column_bytes)
    assert stacks.priced(KERNEL).cycles >= KERNEL.weight_bytes / stacks.bandwidth_bytes_per_s / timing.tck_s


@pytest.mark.parametrize("name", STANDARDS)
def test_every_command_occupies_the_bus_and_the_fast_path_counts_them_all(name):
    groups = ("banks_per_activate=8", "banks_per_mac=4", "banks_per_precharge=2", f"timing={name}")
    buses = [f"timing.{kind}_cycles={cycles}" for kind, cycles in (("act", 2), ("column", 2), ("pre", 3))]
    stacks = pool("attacc", *BY_THE_BANK, *groups, *buses)
    commands, rules = stacks.commands(KERNEL)
    channel = Channel(stacks.part.timing, rules)
    assert channel.run(commands) == stacks.priced(KERNEL).cycles
    for ops, cycles in (({Op.MAC, Op.MAC_MORE}, 2), ({Op.PRECHARGE, Op.PRECHARGE_MORE}, 3)):
        issued = [cycle for cycle, command in channel.issued if command.op in ops]
        assert min(later - one for one, later in pairwise(issued)) >= cycles
    macs = sum(command.op is Op.MAC_MORE for _, command in channel.issued)
    assert macs == 7 * sum(command.op is Op.MAC for _, command in channel.issued)


def test_closing_rows_in_groups_costs_their_span_for_each_row():
    whole, groups = (
        pool("attacc", *BY_THE_BANK, *more) for more in ((), ("banks_per_precharge=1", "timing.pre_cycles=2"))
    )
    rows = groups.priced(KERNEL).activity.activations / 1024
    assert groups.priced(KERNEL).cycles - whole.priced(KERNEL).cycles == pytest.approx(rows * 31 * 2, rel=0.1)


def test_commands_that_leave_the_bus_no_room_for_moves_are_refused():
    with pytest.raises(
        InputError, match="found moves_beside_macs true, expected false: 32 commands per column every 32 cycles"
    ):
        pool("attacc", "banks_per_mac=1", "power_limited=false")
    assert pool("attacc", "banks_per_mac=16", "power_limited=false").part.counts.macs == 2


@pytest.mark.parametrize("name", ["attacc", "hbm4_base_pim", "duplex_pim"])
def test_moves_beside_macs_leave_the_command_bus_to_both(name):
    """In every stretch of a sweep, commands of columns and moves together take no more cycles than there are."""
    stacks = pool(name, "refresh=from_idle", "power_limited=false")
    commands, rules = stacks.commands(Linear(FcRole.QKV, 8, 2048, 2048))
    channel = Channel(stacks.part.timing, rules)
    channel.run(commands)
    issued = sorted(cycle for cycle, command in channel.issued if command.op not in {Op.SOFTMAX, Op.REFRESH})
    window = 64
    assert max(bisect_left(issued, cycle + window) - at for at, cycle in enumerate(issued)) <= window + 3
