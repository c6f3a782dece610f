"""A roofline of five numbers: closed forms of every kind of kernel, on one device and on several."""

from dataclasses import replace

import numpy as np
import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.devices.roofline import Part, Pool
from papisim.engine.run import simulate
from papisim.errors import NotModelled
from papisim.ops.formats import Packed
from papisim.ops.kernel import Attention, Elementwise, FcRole, KernelClass, KvAppend, Linear
from papisim.results.metrics import summarise

PART = Part.model_validate({
    "kind": "roofline", "description": "round numbers", "capacity_bytes": 1e11, "static_w": 100, "board_w": 600,
    "peak_flop_per_s": 1e15, "peak_8bit_flop_per_s": 2e15, "memory_bandwidth_bytes_per_s": 1e12, "launch_s": 1e-6,
})  # fmt: skip


def pool(count: int = 1, part: Part = PART) -> Pool:
    return Pool("npu", part, count)


@pytest.mark.parametrize(("m", "bound"), [(1, "memory"), (4096, "compute")])
def test_products_take_the_longer_of_arithmetic_and_memory(m: int, bound: str):
    kernel = Linear(FcRole.QKV, m, 8192, 8192)
    limits = {"memory": 2 * (8192**2 + 2 * m * 8192) / 1e12, "compute": 2 * m * 8192**2 / 1e15}
    cost = pool().price(kernel)
    assert cost.time_s == pytest.approx(1e-6 + max(limits.values()))
    assert cost.bound == bound == max(limits, key=limits.__getitem__)
    assert cost.energy.total_j == pytest.approx(500 * cost.time_s)
    four = pool(4).price(kernel)
    assert four.time_s == pytest.approx(1e-6 + max(limits.values()) / 4)
    assert four.energy.total_j == pytest.approx(4 * 500 * four.time_s)


def test_inputs_of_eight_bits_need_a_rate():
    kernel = Linear(FcRole.QKV, 65536, 8192, 8192)
    narrow = replace(kernel, input_bits=8)
    assert pool().price(narrow).time_s - 1e-6 == pytest.approx((pool().price(kernel).time_s - 1e-6) / 2)
    with pytest.raises(NotModelled, match="has no peak_8bit_flop_per_s"):
        pool(part=PART.model_copy(update={"peak_8bit_flop_per_s": None})).price(narrow)


def test_attention_is_shared_by_heads():
    """Eight KV heads on six ranks: a quarter on the fullest; one head, as of a latent cache, is read by every rank."""
    kernel = Attention(4, 4, 4000, 1000, 4000, 32, 8, 128)
    alone_s = pool().price(kernel).time_s - 1e-6
    assert alone_s == pytest.approx((kernel.kv_bytes + 2 * kernel.query_bytes) / 1e12)
    assert pool(6).price(kernel).time_s - 1e-6 == pytest.approx(alone_s / 4)
    latent = Attention(4, 4, 4000, 1000, 4000, 32, 1, 576, value_dim=512, latent=True)
    assert pool(8).price(latent).time_s == pool().price(latent).time_s
    assert pool(6).kv_imbalance(32, 8, 1) == 2 * 6 / 8


def test_many_caches_cost_what_each_costs():
    kernel = Attention(4, 8, 400, 200, 800, 32, 8, 128)
    kv, longest = np.array([400, 4000, 400_000]), np.array([200, 2000, 200_000])
    run = pool(6).price_caches(kernel, kv, longest)
    for at in range(3):
        one = pool(6).price(
            replace(kernel, kv_tokens=int(kv[at]), longest_kv=int(longest[at]), pairs=2 * int(kv[at]))
        )
        assert run.time_s[at] == pytest.approx(one.time_s, rel=1e-12)
        assert run.energy_j[:, at] == pytest.approx(list(one.energy), rel=1e-12)


def test_streams_are_whole_on_each_rank_unless_their_tensor_is_split():
    norm = Elementwise(KernelClass.NORMALISATION, 10, 10**9, 10**9)
    activation = replace(norm, kernel_class=KernelClass.ACTIVATION)
    assert pool(4).price(norm).time_s == pytest.approx(1e-6 + 2e-3)
    assert pool(4).price(activation).time_s == pytest.approx(1e-6 + 0.5e-3)
    assert pool(4).price(KvAppend(10**9, heads=(32, 8))).time_s == pytest.approx(1e-6 + 0.5e-3)


@pytest.mark.parametrize("name", ["b200", "mi300x", "l40s"])
def test_a_run_on_a_datasheet_is_all_outside_a_fit(name: str):
    done = simulate(
        load_experiment(RunOptions(hw="h100_single", trace="llama32-1b", batch=2, set=[f"devices.gpu.part={name}"]))
    )
    summary = summarise(done)
    assert summary["outside_fit_time_ratio"] == pytest.approx(1)
    assert done.ledger.outcomes["served"] == 2


def test_inputs_of_four_bits_run_at_their_own_rate_and_move_half_a_byte():
    four = Linear(FcRole.QKV, 4096, 8192, 8192, 2, Packed(4, 16, 8), 4)
    part = PART.model_copy(update={"peak_4bit_flop_per_s": 4e15})
    assert pool(part=part).price(four).time_s == pytest.approx(1e-6 + 2 * 4096 * 8192**2 / 4e15)
    assert four.input_bytes == 4096 * 8192 // 2
    with pytest.raises(NotModelled, match="has no peak_4bit_flop_per_s"):
        pool().price(four)
