"""Grouped products: every weight is read once, in one launch, whatever the rows of each."""

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.system import load_part
from papisim.devices.gpu import Pool as Gpus
from papisim.devices.pim import Pool as Stacks
from papisim.ops.formats import Packed
from papisim.ops.kernel import FcRole, Group, Linear

GROUPS = st.dictionaries(st.integers(1, 70), st.integers(1, 5), min_size=1, max_size=4)


def grouped(groups: dict[int, int], k: int = 2048, n: int = 1536, role: FcRole = FcRole.FEED_FORWARD_UP) -> Linear:
    products = tuple(Group(rows, groups[rows]) for rows in sorted(groups))
    return Linear(role, sum(rows * count for rows, count in products), k, n, groups=products)


def alone(kernel: Linear) -> list[tuple[Linear, int]]:
    return [(replace(kernel, m=rows, groups=()), count) for rows, count in kernel.groups]


@given(GROUPS)
def test_work_is_that_of_the_products_and_every_weight_is_read(groups: dict[int, int]):
    kernel = grouped(groups)
    for quantity in ("flop", "weight_bytes", "input_bytes", "write_bytes"):
        assert getattr(kernel, quantity) == sum(getattr(one, quantity) * n for one, n in alone(kernel)), quantity


@pytest.mark.parametrize("part", ["h100", "a100_hbm3"])
@given(groups=GROUPS)
@settings(max_examples=25, deadline=None)
def test_one_launch_is_faster_than_many_and_no_faster_than_memory_and_tensor_cores(part: str, groups: dict[int, int]):
    gpu = Gpus("gpu", load_part(part, ["mode=model"]).part, 1)
    kernel = grouped(groups)
    together_s = gpu.price(kernel).time_s
    moved = kernel.weight_bytes + kernel.activation_bytes
    bound_s = max(moved / gpu.bandwidth_bytes_per_s, kernel.flop / gpu.peak_flop_per_s)
    assert together_s >= bound_s
    one_by_one_s = sum(gpu.price(one).time_s * n for one, n in alone(kernel))
    if sum(groups.values()) > 1:
        assert together_s < one_by_one_s
    assert gpu.price(replace(kernel, m=kernel.m + 1, groups=(*kernel.groups, Group(1, 1)))).time_s >= together_s


def test_one_product_is_the_kernel_itself():
    gpu = Gpus("gpu", load_part("h100", ["mode=model"]).part, 1)
    kernel = grouped({48: 1})
    assert gpu.price(kernel) == gpu.price(replace(kernel, groups=()))
    stacks = Stacks("pim", load_part("fc_pim").part, 30)
    assert stacks.price(kernel) == stacks.price(replace(kernel, groups=()))


def test_the_experts_of_two_layers_of_qwen3_30b_are_bound_by_memory():
    """128 experts of 2048 × 1536 and 768 × 2048 with 256 rows of eight experts each: 2.42 GB, 0.72 ms at 3.35 TB/s."""
    gpu = Gpus("gpu", load_part("h100").part, 1)
    rows = {16: 128}
    layers = [grouped(rows, 2048, 1536), grouped(rows, 768, 2048, FcRole.FEED_FORWARD_DOWN)] * 2
    assert sum(kernel.weight_bytes for kernel in layers) == pytest.approx(2.416e9, rel=1e-3)
    bound_s = sum(kernel.weight_bytes for kernel in layers) / gpu.bandwidth_bytes_per_s
    assert bound_s == pytest.approx(0.72e-3, rel=0.01)
    assert bound_s < sum(gpu.price(kernel).time_s for kernel in layers) < 1.4 * bound_s


def test_packed_weights_of_many_products_are_read_faster_and_of_one_product_are_the_kernel():
    gpu = Gpus("gpu", load_part("h100", ["mode=model"]).part, 1)
    plain = grouped({1: 40, 2: 10})
    packed = replace(plain, weights=Packed(4, 128, 16))
    assert gpu.price(packed).time_s < 0.5 * gpu.price(plain).time_s
    one = replace(grouped({48: 1}), weights=Packed(4, 128, 16))
    assert gpu.price(one) == gpu.price(replace(one, groups=()))


def test_pim_and_gpus_differ_on_experts_as_their_memories_do():
    """Both projections of awake experts: six GPUs read at 20 TB/s, thirty stacks open a row for each slice: near 2, not 25."""
    gpus, stacks = Gpus("gpu", load_part("a100_hbm3").part, 6), Stacks("pim", load_part("fc_pim").part, 30)
    for rows in ({1: 60, 2: 24}, {4: 128}):
        layer = grouped(rows), grouped(rows, 768, 2048, FcRole.FEED_FORWARD_DOWN)
        on_gpus, on_pim = (sum(pool.price(kernel).time_s for kernel in layer) for pool in (gpus, stacks))
        assert 1.5 < on_gpus / on_pim < 3


@pytest.mark.parametrize("name", ["fc_pim", "attacc", "hbm_pim"])
@given(groups=st.dictionaries(st.integers(1, 9), st.integers(1, 3), min_size=1, max_size=3))
@settings(max_examples=10, deadline=None)
def test_the_command_stream_of_pim_takes_what_the_price_says_and_reads_each_weight(name: str, groups: dict[int, int]):
    stacks = Stacks("pim", load_part(name).part, 2)
    kernel = grouped(groups, 256, 512)
    priced = stacks.priced(kernel)
    _, cycles = stacks.write_commands(kernel, io.StringIO())
    assert cycles == priced.cycles_from_idle
    each = [(stacks.priced(one), n) for one, n in alone(kernel)]
    assert priced.activity.columns == sum(one.activity.columns * n for one, n in each)
    assert priced.activity.macs == pytest.approx(sum(one.activity.macs * n for one, n in each))
    alone_cycles = sum(one.cycles_from_idle * n for one, n in each)
    refreshed = priced.refreshes * stacks.part.timing.rfc
    assert cycles - refreshed <= alone_cycles, "the next inputs arrive beside a sweep"


def test_products_of_heads_are_dealt_out_to_ranks_and_experts_are_cut():
    gpu = load_part("h100", ["mode=model"]).part
    heads = grouped({8: 128}, 128, 512, FcRole.QKV)
    experts = replace(heads, role=FcRole.FEED_FORWARD_UP)
    assert Gpus("gpu", gpu, 8).computed_flop(heads) == heads.flop
    assert Gpus("gpu", gpu, 6).computed_flop(heads) == heads.flop * 6 * 22 / 128, "22 heads on the fullest of six"
    assert Gpus("gpu", gpu, 8).computed_flop(experts) == experts.flop
