"""The contract of devices: what a kind must have, what follows from it, and that fast versions return the same."""

import numpy as np
import pytest

import papisim
from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.system import load_part
from papisim.devices.base import DEVICE, AttentionRun, DevicePart, DevicePool, OutsideFit, runs_together
from papisim.errors import InputError, NotModelled
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import Attention, Elementwise, KernelClass, Linear

#: a device with the members that the contract requires and no other
TOY = '''
from papisim.devices.base import DevicePart, DevicePool
from papisim.kinds import Example
from papisim.ops.cost import Cost, Energy

EXAMPLE = Example({"description": "toy", "capacity_bytes": 1, "static_w": 1, "bytes_per_s": 1})


class Part(DevicePart):
    """Memory and nothing else."""

    bytes_per_s: float


class Pool(DevicePool):
    """Devices that stream."""

    def price(self, kernel):
        moved = kernel.read_bytes + kernel.write_bytes
        return Cost(moved / (self.count * self.part.bytes_per_s), "memory", Energy(dram_access_j=1e-11 * moved))
'''
TOY_PART = """\
schema: papisim/device/1
kind: toy.py
description: a toy
capacity_bytes: 80 GB
static_w: 10 W
bytes_per_s: 1 TB/s
sources:
  capacity_bytes: {assumed: "of the test"}
  static_w: {assumed: "of the test"}
  bytes_per_s: {assumed: "of the test"}
"""


class Sloth(DevicePool):
    """Takes a second per operation and per byte of attention, half of it for FC."""

    def price(self, kernel):
        match kernel:
            case Linear():
                return Cost(kernel.flop / 2, "compute", Energy(gpu_compute_j=1.0))
            case Attention():
                return Cost(kernel.flop + kernel.read_bytes, "compute", Energy(dram_access_j=kernel.kv_tokens))
        raise NotModelled(f"{kernel.kernel_class} on sloths")


class Idle(DevicePool):
    def price(self, kernel):
        raise NotModelled(f"{kernel.kernel_class}")


def part():
    return DevicePart(kind="test", description="a test", capacity_bytes=5e9, static_w=7)


@pytest.fixture
def toy(tmp_path):
    """A file of a system whose GPUs are replaced by toys."""
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    (tmp_path / "toy.yaml").write_text(TOY_PART, encoding="utf-8")
    system = catalog.shipped(Shelf.SYSTEM)["gpu_only"].read_text(encoding="utf-8")
    path = tmp_path / "system.yaml"
    path.write_text(system.replace("part: a100_hbm3", f"part: {tmp_path / 'toy.yaml'}"), encoding="utf-8")
    return path


def test_a_device_with_the_required_members_alone_runs(toy):
    run = papisim.run(str(toy), "llama7b", batch=2, requests=2)
    # Llama 7B: 32 layers of four square matrices and three of the feed-forward network, two bytes each
    weight_bytes = 2 * 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert weight_bytes / 6e12 < run.summary["tpot_mean_s"] < 1.3 * weight_bytes / 6e12, "links take the rest"


def test_a_kind_without_a_price_is_refused_with_the_line_of_its_class(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(TOY.replace("def price(self", "def prize(self"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"toy.py:15: Pool: no method 'price\(.*kernel\)'.*device kind has.*did you mean 'prize'"
    ):
        DEVICE.load(str(path))


def test_room_and_power_follow_from_the_part():
    pool = Sloth("sloth", part(), 3)
    assert (pool.capacity_bytes, pool.static_w) == (15e9, 21)


def test_peaks_are_the_highest_rates_among_large_kernels():
    pool = Sloth("sloth", part(), 1)
    assert pool.peak_flop_per_s == 2
    gemv_bytes = 2 * (16384 * 16384 + 2 * 16384)
    assert pool.bandwidth_bytes_per_s == pytest.approx(gemv_bytes / (16384 * 16384))


def test_a_kind_that_runs_neither_fc_nor_attention_has_no_peaks():
    with pytest.raises(NotModelled, match="peaks of idle"):
        _ = Idle("idle", part(), 1).peak_flop_per_s


def test_kinds_that_say_nothing_more_have_no_library_no_commands_and_meter_their_own_energy():
    pool = Sloth("sloth", part(), 1)
    cost = Cost(1.0, "compute", Energy(link_j=2.0))
    assert pool.metered(cost) == cost.energy
    assert pool.explain(Elementwise(KernelClass.OTHER, 1, 1, 1)) == {}
    with pytest.raises(InputError, match="sloth has no kernel libraries"):
        pool.with_library("cublas")
    with pytest.raises(NotModelled, match="sloth has no DRAM command stream"):
        pool.write_commands(Elementwise(KernelClass.OTHER, 1, 1, 1), None)


def test_caches_are_priced_one_by_one_by_default():
    kernel = Attention(2, 6, 40, 30, 120, n_heads=4, n_kv_heads=2, head_dim=8)
    run = Sloth("sloth", part(), 1).price_caches(kernel, np.array([100, 50]), np.array([60, 30]))
    # pairs: 3 query tokens against 100 and 50 cached ones; 4·8 + 5 operations for each of 4 heads
    flop = [300 * 4 * 37, 150 * 4 * 37]
    read = [100 * 2 * 2 * 8 * 2 + 6 * 4 * 8 * 2, 50 * 2 * 2 * 8 * 2 + 6 * 4 * 8 * 2]
    assert run.time_s.tolist() == [flop[0] + read[0], flop[1] + read[1]]
    assert run.energy_j.sum(axis=0).tolist() == [100, 50]
    assert run.energy_j[list(Energy._fields).index("dram_access_j")].tolist() == [100, 50]


def test_growing_caches_gain_the_query_tokens_of_an_iteration():
    kernel = Attention(2, 6, 40, 30, 120, n_heads=4, n_kv_heads=2, head_dim=8)
    run = Sloth("sloth", part(), 1).price_growing(kernel, 3)
    assert run.energy_j.sum(axis=0).tolist() == [40, 46, 52]
    assert run.first(2).energy_j.sum(axis=0).tolist() == [40, 46]


def test_no_caches_cost_nothing():
    kernel = Attention(2, 6, 40, 30, 120, n_heads=4, n_kv_heads=2, head_dim=8)
    run = Sloth("sloth", part(), 1).price_growing(kernel, 0)
    assert run.time_s.shape == (0,)
    assert run.energy_j.shape == (len(Energy._fields), 0)


SHIPPED = sorted(name for name in catalog.shipped(Shelf.DEVICE) if load_part(name).part.kind != "link")


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("count", [1, 5])
def test_shipped_kinds_price_many_caches_as_the_default_does(name, count):
    one = load_part(name).part
    pool = DEVICE.make(DEVICE.load(one.kind), name, one, count)
    kernel = Attention(6, 12, 9_000, 4_001, 18_000, n_heads=32, n_kv_heads=8, head_dim=128)
    kv_tokens, longest_kv = np.array([9_000, 700, 12_345, 64_000]), np.array([4_001, 128, 2_500, 11_000])
    assert_same(
        pool.price_caches(kernel, kv_tokens, longest_kv), DevicePool.price_caches(pool, kernel, kv_tokens, longest_kv)
    )
    grown = kernel.kv_tokens + 12 * np.arange(20), kernel.longest_kv + 2 * np.arange(20)
    assert_same(pool.price_growing(kernel, 20), DevicePool.price_caches(pool, kernel, *grown))


def assert_same(run: AttentionRun, other: AttentionRun):
    np.testing.assert_allclose(run.time_s, other.time_s, rtol=1e-12)
    np.testing.assert_allclose(run.energy_j, other.energy_j, rtol=1e-12)


def test_groups_at_the_same_time_are_outside_a_fit_where_the_slowest_of_them_is():
    energy_j = np.ones((6, 4))
    full = AttentionRun(np.array([4.0, 4, 1, 1]), energy_j, (OutsideFit(1, 4, "long"),))
    other = AttentionRun(np.array([2.0, 2, 2, 2]), energy_j, (OutsideFit(0, 3, "wide"),))
    both = runs_together([(full, 1), (other, 3)])
    assert both.time_s.tolist() == [4, 4, 2, 2]
    assert np.array_equal(both.energy_j, 4 * energy_j)
    assert both.outside == (OutsideFit(1, 2, "long"), OutsideFit(2, 3, "wide"))
    assert runs_together([(full, 1)]) is full
