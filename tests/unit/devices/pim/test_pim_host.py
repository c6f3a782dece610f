"""Reads of the host beside kernels: what each way of sharing the banks costs, command by command."""

from dataclasses import replace

import numpy as np
import pytest

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.commands import Op
from papisim.devices.pim.scheduler import Channel
from papisim.errors import InputError
from papisim.ops.kernel import Attention, FcRole, Linear

MODES = ("blocked", "interleaved", "dual_row_buffer")
GEMV = Linear(FcRole.QKV, 1, 8192, 8192)
ATTENTION = Attention(4, 4, 4 * 700, 700, 4 * 700, 32, 8, 128)


def pool(mode=None, share=0.25, *overrides, name="attacc"):
    host = [f"host={{mode: {mode}, share: {share}}}"] if mode else []
    return Pool("p", load_part(name, ["refresh=from_idle", *host, *overrides]).part, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kernel", [GEMV, ATTENTION])
def test_reads_of_the_host_are_issued_and_timed_alike(mode, kernel):
    stacks = pool(mode)
    commands, rules = stacks.commands(kernel)
    channel = Channel(stacks.part.timing, rules)
    assert channel.run(commands) == stacks.priced(kernel).cycles
    reads = sum(command.op in {Op.READ, Op.READ_BESIDE} for _, command in channel.issued)
    organisation = stacks.part.organisation
    issued_bytes = reads * organisation.channels * organisation.pseudo_channels * organisation.column_bytes
    assert stacks.explain(kernel)["host_bytes"] == issued_bytes > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_host_gets_its_share_of_the_data_paths(mode, share):
    stacks = pool(mode, share)
    timing, cycles = stacks.part.timing, stacks.priced(GEMV).cycles_from_idle
    paths = stacks.part.organisation.channels * stacks.part.organisation.pseudo_channels
    reads = stacks.explain(GEMV)["host_bytes"] / 32 / paths
    busy = cycles - stacks.priced(GEMV).refreshes * timing.rfc
    assert reads * timing.burst / busy == pytest.approx(share, rel=0.02)


def test_turns_lengthen_a_kernel_by_the_share_and_a_second_row_buffer_hides_it():
    alone = pool().price(GEMV).time_s
    times = {mode: pool(mode).price(GEMV).time_s for mode in MODES}
    assert times["blocked"] == pytest.approx(alone / 0.75, rel=0.03)
    assert times["interleaved"] == pytest.approx(alone / 0.75, rel=0.03)
    assert times["interleaved"] >= times["blocked"], "every turn opens rows"
    assert alone <= times["dual_row_buffer"] <= alone * 1.01, "the data path of a GEMV at the banks is nearly idle"


def test_a_kernel_whose_data_path_is_busy_waits_for_the_host_all_the_same():
    """Of 64 narrow outputs, everything that takes time is inputs on their way."""
    narrow = Linear(FcRole.QKV, 8, 65536, 64)
    alone, beside = pool().priced(narrow), pool("dual_row_buffer", 0.5).priced(narrow)
    assert alone.bound == "data_path"
    assert beside.cycles == pytest.approx(2 * alone.cycles, rel=0.02)


def test_the_host_waits_for_a_kernel_a_phase_or_not_at_all():
    waits = {mode: pool(mode).explain(GEMV)["host_wait_s"] for mode in MODES}
    kernel_s = pool().priced(GEMV).cycles_from_idle * pool().part.timing.tck_s
    assert waits["dual_row_buffer"] == 0
    assert 0 < waits["interleaved"] < waits["blocked"] <= kernel_s


@pytest.mark.parametrize("mode", MODES)
def test_caches_of_many_lengths_are_each_timed_as_one_is(mode):
    stacks, kv = pool(mode), np.array([1, 64, 700, 3000])
    run = stacks.price_caches(ATTENTION, 4 * kv, kv)
    alone = [stacks.price(replace(ATTENTION, kv_tokens=4 * n, longest_kv=n, pairs=4 * n)) for n in kv.tolist()]
    assert run.time_s == pytest.approx([cost.time_s for cost in alone])
    assert run.energy_j.sum(axis=0) == pytest.approx([cost.energy.total_j for cost in alone])


def test_what_the_host_reads_is_no_energy_of_the_kernel():
    energies = {mode: pool(mode).price(GEMV).energy for mode in (None, *MODES)}
    assert len(set(energies.values())) == 1


@pytest.mark.parametrize(
    ("name", "overrides"), [("hbm_pim", []), ("hbm4_base_pim", []), ("attacc", ["mapping=attacc_released"])]
)
def test_a_second_row_buffer_is_no_use_where_units_or_moves_take_the_data_path(name, overrides):
    with pytest.raises(InputError, match=r"host.*expected (blocked or interleaved|none)"):
        pool("dual_row_buffer", 0.25, *overrides, name=name)


def test_further_tsvs_leave_the_data_path_to_the_host():
    stacks = pool("dual_row_buffer", 0.25, "fpu.ports=4", "fpu.per_banks=16", name="hbm4_base_pim")
    assert stacks.price(GEMV).time_s < pool("interleaved", 0.25, name="hbm4_base_pim").price(GEMV).time_s
