from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.devices.gpu import GpuEnergy, Part, Pool
from papisim.ops.kernel import Attention, Elementwise, FcRole, KernelClass, KvAppend, Linear

PART = Part(
    kind="gpu",
    description="round numbers",
    capacity_bytes=80e9,
    static_w=50,
    peak_flop_per_s=100e12,
    memory_bandwidth_bytes_per_s=1e12,
    compute_efficiency_ratio=0.8,
    memory_efficiency_ratio=0.5,
    kernel_fixed_s=2e-6,
    energy=GpuEnergy(
        dram_activation_j_per_byte=1e-12,
        dram_access_j_per_byte=2e-12,
        dram_transfer_j_per_byte=3e-12,
        on_chip_j_per_byte=4e-12,
        compute_j_per_flop=5e-12,
    ),
)
FC = Linear(FcRole.QKV, 16, 4096, 12288)
ATTENTION = Attention(4, 4, 4000, 1500, 4000, n_heads=32, n_kv_heads=8, head_dim=128)


def gpus(count, **changes):
    return Pool("gpu", PART.model_copy(update=changes), count)


def roofline(flop, moved_bytes):
    return 2e-6 + max(flop / (100e12 * 0.8), moved_bytes / (1e12 * 0.5))


def moved(kernel):
    return kernel.read_bytes + kernel.write_bytes


@pytest.mark.parametrize("kernel", [FC, replace(FC, m=4096), ATTENTION, KvAppend(1 << 20)])
def test_one_gpu_takes_the_roofline_of_the_whole_kernel(kernel):
    assert gpus(1).price(kernel).time_s == pytest.approx(roofline(kernel.flop, moved(kernel)))


def test_a_gemv_is_bound_by_memory_a_large_gemm_by_compute_and_a_tiny_kernel_by_its_fixed_cost():
    """The ridge of this GPU is at 80e12 / 0.5e12 = 160 FLOP/B."""
    assert gpus(1).price(replace(FC, m=1)).bound == "memory"
    assert gpus(1).price(replace(FC, m=1024)).bound == "compute"
    assert gpus(1).price(Linear(FcRole.ROUTER, 1, 64, 8)).bound == "fixed"


@pytest.mark.parametrize(("intensity", "bound"), [(159, "memory"), (161, "compute")])
def test_the_bound_changes_at_the_ridge(intensity, bound):
    moved_bytes = 10**9
    kernel = Elementwise(KernelClass.OTHER, intensity * moved_bytes, moved_bytes, 0)
    assert gpus(1).price(kernel).bound == bound


@pytest.mark.parametrize(("count", "columns"), [(1, 12288), (6, 2048), (5, 2458), (7, 1756), (12288, 1), (20000, 1)])
def test_fc_is_split_by_columns_and_the_largest_shard_sets_the_time(count, columns):
    share = columns / 12288
    assert gpus(count).price(FC).time_s == pytest.approx(roofline(FC.flop * share, moved(FC) * share))


@pytest.mark.parametrize(("count", "heads"), [(1, 8), (2, 4), (3, 3), (6, 2), (8, 1), (16, 1)])
def test_attention_is_split_by_heads_of_the_cache(count, heads):
    share = heads / 8
    expected = roofline(ATTENTION.flop * share, moved(ATTENTION) * share)
    assert gpus(count).price(ATTENTION).time_s == pytest.approx(expected)


def test_an_append_is_split_evenly():
    assert gpus(6).price(KvAppend(6 << 20)).time_s == pytest.approx(roofline(0, 2 << 20))


@pytest.mark.parametrize("kernel_class", [KernelClass.ACTIVATION, KernelClass.ROTARY])
def test_work_on_a_split_tensor_is_split(kernel_class):
    kernel = Elementwise(kernel_class, 6 << 20, 6 << 30, 6 << 30)
    assert gpus(6).price(kernel).time_s == pytest.approx(roofline(1 << 20, 2 << 30))


@pytest.mark.parametrize("kernel_class", [KernelClass.NORMALISATION, KernelClass.RESIDUAL, KernelClass.EMBEDDING])
def test_work_on_a_whole_tensor_is_repeated_on_every_rank(kernel_class):
    kernel = Elementwise(kernel_class, 1 << 20, 1 << 30, 1 << 30)
    one, six = gpus(1).price(kernel), gpus(6).price(kernel)
    assert six.time_s == one.time_s
    assert six.energy.total_j == pytest.approx(6 * one.energy.total_j)


@pytest.mark.parametrize("kernel", [FC, ATTENTION, KvAppend(1 << 20)])
def test_energy_is_bytes_and_flop_times_their_price_whoever_moves_them(kernel):
    for count in (1, 2, 4):  # counts that divide the heads and columns: no padding
        energy = gpus(count).price(kernel).energy
        assert energy.dram_activation_j == pytest.approx(1e-12 * moved(kernel))
        assert energy.dram_access_j == pytest.approx(2e-12 * moved(kernel))
        assert energy.dram_transfer_j == pytest.approx(3e-12 * moved(kernel))
        assert energy.gpu_memory_j == pytest.approx(4e-12 * moved(kernel))
        assert energy.gpu_compute_j == pytest.approx(5e-12 * kernel.flop)
        assert energy.total_j == pytest.approx(sum(joules for _, joules in energy.items()))
        assert energy.pim_compute_j == energy.link_j == energy.static_j == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 512), st.integers(1, 16384), st.integers(1, 16384), st.integers(1, 8))
def test_no_kernel_beats_either_roof_of_its_gpus(m, k, n, count):
    kernel = Linear(FcRole.QKV, m, k, n)
    time_s = gpus(count).price(kernel).time_s
    assert time_s >= 2e-6 + kernel.flop / (count * 80e12) * (1 - 1e-12)
    assert time_s >= 2e-6 + kernel.weight_bytes / (count * 0.5e12) * (1 - 1e-12)


def test_capacity_and_idle_power_are_those_of_all_gpus():
    assert gpus(6).capacity_bytes == 480e9
    assert gpus(6).static_w == 300
