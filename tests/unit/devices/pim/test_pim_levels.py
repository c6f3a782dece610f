"""Levels of compute: each with the bandwidth that reaches it, its buffers, its formats and what a column costs to bring there."""

import re
from dataclasses import replace

import numpy as np
import pytest

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.level import Level
from papisim.errors import InputError, NotModelled
from papisim.ops.formats import Packed
from papisim.ops.kernel import Attention, FcRole, Linear

BASE_DIE = ("hbm4_base_pim", "power_limited=false")


def pool(name, *overrides, count=1):
    return Pool(name, load_part(name, overrides).part, count)


def linear(m, k=8192, n=8192, weights=None):
    return Linear(FcRole.QKV, m, k, n, weights=weights)


@pytest.mark.parametrize("rows", [1, 2, 16])
def test_a_base_die_reads_weights_no_faster_than_its_tsvs(rows):
    """64 pseudo-channels × 32 B per ns are 2.048 TB/s: 65.5 µs for 134 MB, 73.2 µs with refresh and 74.7 with 32 changes of rows of 41 ns."""
    base = pool(*BASE_DIE)
    assert base.bandwidth_bytes_per_s == pytest.approx(2.048e12)
    assert base.price(linear(rows)).time_s == pytest.approx(74.7e-6, rel=0.004)


def test_sixteen_units_on_the_base_die_serve_sixteen_rows_and_no_more():
    base = pool(*BASE_DIE)
    assert base.price(linear(32)).time_s == pytest.approx(2 * base.price(linear(16)).time_s, rel=0.02)


@pytest.mark.parametrize(
    ("at", "banks", "bandwidth"),
    [("bank_group", 4, 32 * 512 / 3e-9), ("pseudo_channel", 16, 32 * 256 / 1e-9), ("base_die", 64, 32 * 64 / 1e-9)],
)
def test_each_level_gets_what_its_ports_pass(at, banks, bandwidth):
    """HBM4: 1,024 bank groups, each a column per 3 ns; 256 (pseudo-channel, rank) pairs and 64 pseudo-channels, each a column per ns."""
    at_level = pool("hbm4_pim", f"fpu.at={at}", f"fpu.per_banks={banks}", "power_limited=false")
    ports = {"bank_group": 2}.get(at, 1)
    assert at_level.bandwidth_bytes_per_s == pytest.approx(bandwidth * ports)
    assert at_level.price(linear(1)).time_s >= linear(1).weight_bytes / (bandwidth * ports)


def test_a_data_path_passes_no_more_than_its_bank_groups_yield():
    """One bank group behind a data path leaves its column gap; two halve it."""
    timing = load_part("hbm4_pim").part.timing
    organisation = load_part("hbm4_pim").part.organisation
    for groups, gap in ((1, 6), (2, 3), (4, 2)):
        few = organisation.model_copy(update={"bank_groups": groups})
        assert Level.PSEUDO_CHANNEL.gap(few, timing) == gap


def test_lanes_beyond_a_column_cost_nothing():
    for m in (1, 16):
        narrow, wide = (
            pool("hbm4_pim", "power_limited=false", f"fpu.lanes={lanes}").price(linear(m)) for lanes in (16, 256)
        )
        assert wide == narrow


def test_fewer_lanes_take_a_column_in_turns_at_the_same_energy():
    whole, half = (pool("attacc", "power_limited=false", f"fpu.lanes={lanes}").price(linear(16)) for lanes in (16, 8))
    assert half.time_s > 1.9 * whole.time_s
    assert half.energy == whole.energy


def test_columns_to_the_base_die_cost_the_data_path_and_units_there_no_area():
    at_banks, at_base = pool("hbm4_pim", "power_limited=false"), pool(*BASE_DIE)
    moved = at_base.priced(linear(1)).activity
    assert moved.raised_bytes == moved.columns * 32
    assert at_banks.priced(linear(1)).activity.raised_bytes == 0
    free = pool(*BASE_DIE, "fpu.path_share=0").price(linear(1)).energy
    paid = at_base.price(linear(1)).energy.dram_transfer_j - free.dram_transfer_j
    assert paid == pytest.approx(moved.raised_bytes * at_base.part.energy.data_path_j_per_byte)
    assert at_base.part.fpu.on_dram_per_bank == 0


def test_units_multiply_a_narrower_format_at_its_own_rate():
    """Eight-bit weights are half the columns; units that widen them take as long per number, those with twice the lanes half."""
    packed = Packed(8, 128, 16)
    for lanes, saved in ((16, 1), (32, 2)):
        units = pool("fc_pim", "power_limited=false", f"fpu.lanes_by_bits={{8: {lanes}}}")
        assert units.price(linear(64, weights=packed)).time_s == pytest.approx(
            units.price(linear(64)).time_s / saved, rel=0.06
        )
    with pytest.raises(NotModelled, match="units take 4, 8"):
        units.price(linear(1, weights=Packed(2, 128, 16)))


def test_outputs_beyond_the_accumulators_send_the_inputs_again():
    """32 outputs of a bank by accumulators for 32, 8 or 1: the weights are read once, the inputs 1, 4 and 32 times."""
    few = {sums: pool("hbm_pim", f"buffers.result_bytes={2 * sums}").priced(linear(1, n=8192)) for sums in (32, 8, 1)}
    assert len({priced.activity.columns for priced in few.values()}) == 1
    sent = {sums: priced.activity.data_path_bytes for sums, priced in few.items()}
    inputs, more_results = 16 * 8192 * 2, 16 * 16 * 32 * 2
    assert sent[8] - sent[32] == 3 * inputs + more_results, (
        "results leave in whole columns: four of 8 sums for two of 16"
    )
    assert few[32].cycles < few[8].cycles < few[1].cycles


@pytest.mark.parametrize("at", list(Level))
def test_attention_is_priced_at_every_level(at):
    kernel = Attention(4, 4, 8192, 2048, 8192, 32, 8, 128)
    part = load_part("attacc").part
    overrides = [] if at is Level.BANK else [f"fpu.at={at}", f"fpu.per_banks={at.banks(part.organisation)}"]
    units = pool("attacc", *overrides, "area=null")
    assert units.price(kernel).time_s >= kernel.kv_bytes / units.bandwidth_bytes_per_s * 0.5


@pytest.mark.parametrize(
    ("overrides", "field", "expected"),
    [
        (["fpu.fpus=16", "fpu.per_banks=64"], "fpu.per_banks 64", "divisor of organisation.banks_per_group = 4"),
        (["fpu.per_banks=5"], "fpu.per_banks 5", "divisor of organisation.banks_per_group = 4"),
        (["fpu.per_banks=4096"], "fpu.per_banks 4096", "divisor"),
        (["fpu.at=base_die"], "fpu.per_banks 2", "expected 64: the banks behind one port"),
        (["fpu.lanes=7"], "fpu.lanes 7", "divisor or a multiple of the 16 numbers of 16 bits in a column"),
        (["fpu.lanes_by_bits={8: 5}"], "fpu.lanes_by_bits 5", "32 numbers of 8 bits"),
        (["organisation.row_bytes=1000"], "row_bytes 1000", "multiple of column_bytes = 32"),
        (["organisation.bank_bytes=1.5 KiB"], "bank_bytes 1536", "multiple of row_bytes = 1024"),
        (["fpu.at=roof"], "roof", "base_die"),
        (
            ["fpu.at=base_die", "fpu.per_banks=64", "buffers.operand_bytes=64 B"],
            "buffers.operand_bytes 64 B",
            "at least 128 B",
        ),
        (["buffers.result_bytes=1 B"], "buffers.result_bytes 1 B", "at least 2 B"),
    ],
)
def test_impossible_units_are_refused_with_their_field(overrides, field, expected):
    with pytest.raises(InputError, match=f"{re.escape(field)}.*{re.escape(expected)}"):
        load_part("hbm4_pim", overrides)


# several levels in one part

#: units on the base die, two ports for each pseudo-channel, beside those at the banks of hbm4_pim
FURTHER = "further_levels={base_die: {fpu: {fpus: 16, per_banks: 32, ports: 2, lanes: 16, clock_hz: 1e9, cycles_per_column: 1}, buffers: {operand_bytes: 65536, result_bytes: 65536}%s}}"


def both(*overrides, rule="", count=1):
    return pool("hbm4_pim", "power_limited=false", FURTHER % rule, *overrides, count=count)


def attention(group, kv=2048):
    return Attention(4, 4, 4 * kv, kv, 4 * kv, 8 * group, 8, 128)


@pytest.mark.parametrize("kernel", [linear(1), linear(8), linear(64), attention(1), attention(16)])
def test_a_kernel_runs_on_the_level_that_is_fastest(kernel):
    stacks = both()
    costs = [units.cost(units.priced(kernel)) for units in stacks.levels]
    assert stacks.price(kernel) == min(costs, key=lambda cost: cost.time_s)
    assert stacks.explain(kernel)["level"] == ["bank", "base_die"][costs.index(stacks.price(kernel))]


def test_few_rows_run_at_the_banks_and_many_on_the_base_die():
    levels = [both().explain(linear(rows))["level"] for rows in (1, 2, 64)]
    assert levels == ["bank", "bank", "base_die"]


def test_a_rule_by_rows_decides_instead():
    stacks = both(rule=", from_rows: 2")
    assert [stacks.explain(linear(rows))["level"] for rows in (1, 2, 64)] == ["bank", "base_die", "base_die"]
    assert [stacks.explain(attention(group))["level"] for group in (1, 4)] == ["bank", "base_die"]
    assert stacks.price(linear(2)).time_s > both().price(linear(2)).time_s, "the rule costs what it costs"


def test_caches_of_many_lengths_are_each_served_as_one_is():
    stacks, kv = both(), np.array([1, 64, 700, 5000])
    kernel = attention(4)
    run = stacks.price_caches(kernel, 4 * kv, kv)
    alone = [stacks.price(replace(kernel, kv_tokens=4 * n, longest_kv=n, pairs=4 * n)) for n in kv.tolist()]
    assert run.time_s == pytest.approx([cost.time_s for cost in alone])
    assert run.energy_j.sum(axis=0) == pytest.approx([cost.energy.total_j for cost in alone])


def test_further_data_paths_bring_further_bandwidth_until_the_bank_groups_yield_no_more():
    """HBM4's pseudo-channel: eight bank groups over four ranks, each a column per four cycles; a burst of two cycles per port."""
    bandwidths = {
        ports: pool(
            *BASE_DIE, f"fpu.ports={ports}", f"fpu.per_banks={64 // ports}", "area=null"
        ).bandwidth_bytes_per_s
        for ports in (1, 2, 4, 8)
    }
    assert bandwidths == pytest.approx({1: 2.048e12, 2: 4.096e12, 4: 64 * 4 * 32 / 1e-9, 8: 64 * 8 * 32 / 2e-9})


def test_a_level_takes_numbers_that_another_does_not():
    packed = linear(4, weights=Packed(8, 128, 16))
    stacks = both("fpu.widens_bits=[]")
    with pytest.raises(NotModelled, match="units take none"):
        stacks.price(packed)
    wide = both("fpu.widens_bits=[]", "further_levels.base_die.fpu.widens_bits=[8]")
    assert wide.explain(packed)["level"] == "base_die"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("further_levels.base_die.fpu.per_banks=64", r"further_levels.base_die.*found fpu.per_banks 64, expected 32"),
        ("further_levels.base_die.fpu.ports=3", "found fpu.ports 3, expected a divisor of 16"),
        ("further_levels.base_die.fpu.ports=64", "found fpu.ports 64, expected a divisor of 16"),
        ("further_levels.base_die.fpu.at=bank", "expected 'base_die'"),
        ("further_levels.base_die.fpu.bits=8", "expected 16: all levels read what is stored once"),
        ("further_levels.base_die.buffers.operand_bytes=64 B", "operand_bytes 64 B, expected at least 128 B"),
        ("fpu.ports=2", "found fpu.ports 2, expected a divisor of 1"),
        ("mapping=attacc_released", "expected none with mapping attacc_released"),
        (
            "further_levels.bank_group={fpu: {fpus: 1, per_banks: 4, lanes: 16, clock_hz: 1e9, cycles_per_column: 1}, buffers: {operand_bytes: 8192, result_bytes: 4096}, from_rows: 2}",
            r"found from_rows \[None, 2\], expected a number of its own for each level, or none at all",
        ),
    ],
)
def test_levels_that_cannot_stand_together_are_refused(override, message):
    with pytest.raises(InputError, match=message):
        both(override)
