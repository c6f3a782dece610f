"""The GPU model over tables is the model of single kernels, row by row, and energies are those of a board's meter."""

import numpy as np
import pandas as pd
import pytest

from papisim.config.system import load_part
from papisim.ops.kernel import Attention, Elementwise, FcRole, KernelClass, Linear
from papisim.pricing.kernel import pool_of
from papisim.pricing.table import (
    attention_times,
    by_kernel_class,
    covered_attention,
    covered_linear,
    elementwise_energies,
    elementwise_times,
    linear_energies,
    linear_times_of,
    prefill_times_of,
    step_prices,
)

MODEL = load_part("h200", ["mode=model"])
PART = MODEL.part
POOL = pool_of(MODEL, 1)


def products(*shapes):
    return pd.DataFrame(shapes, columns=["m", "k", "n"])


def attention(*shapes):
    names = ["requests", "queries", "kv", "n_heads", "n_kv_heads", "head_dim"]
    return pd.DataFrame(shapes, columns=names)


def test_products_are_priced_row_by_row():
    shapes = [(1, 4096, 4096), (64, 4096, 11008), (512, 8192, 8192)]
    single = [POOL.price(Linear(FcRole.QKV, *shape)).time_s for shape in shapes]
    assert linear_times_of(PART, PART.linear.used, products(*shapes)) == pytest.approx(single, rel=1e-9)


@pytest.mark.parametrize(("tlp", "heads", "kv_heads"), [(1, 32, 32), (1, 32, 8), (4, 32, 8)])
def test_decoding_attention_is_priced_row_by_row(tlp, heads, kv_heads):
    rows = attention((8, tlp, 1024, heads, kv_heads, 128), (64, tlp, 300, heads, kv_heads, 128))
    single = [
        POOL.price(Attention(n, n * tlp, n * kv, kv, n * tlp * kv, heads, kv_heads, 128)).time_s
        for n, kv in ((8, 1024), (64, 300))
    ]
    assert attention_times(PART, PART.attention.used, rows) == pytest.approx(single, rel=1e-9)


def test_prompts_are_priced_row_by_row_and_one_of_a_single_token_is_decoded():
    rows = attention((4, 512, 512, 32, 32, 128), (4, 1, 1, 32, 32, 128))
    pairs = 4 * 512 * 513 // 2
    prompt = POOL.price(Attention(4, 4 * 512, 4 * 512, 512, pairs, 32, 32, 128, causal=True)).time_s
    single = POOL.price(Attention(4, 4, 4, 1, 4, 32, 32, 128)).time_s
    assert prefill_times_of(PART, PART.attention.used, rows) == pytest.approx([prompt, single], rel=0.01)


def test_a_fit_covers_its_range_with_both_ends():
    library = PART.linear.used
    (least_m, most_m), (least_k, most_k), (least_n, most_n) = library.covers_m, library.covers_k, library.covers_n
    inside = [(least_m, least_k, least_n), (most_m, most_k, most_n)]
    outside = [(most_m + 1, least_k, least_n), (least_m, least_k - 1, least_n), (least_m, least_k, most_n + 1)]
    assert covered_linear(library, products(*inside, *outside)).to_numpy().tolist() == [list(each) for each in inside]


def test_attention_that_no_bandwidth_allows_is_left_out():
    """Keys and values of 8 requests × 1,000 tokens × 8 heads × 128 in two bytes are 32.8 MB: 6.8 µs at 4.8 TB/s."""
    library = PART.attention.libraries["flash_attn"]
    least_s = 2 * 2 * 8 * 1000 * 8 * 128 / 4.8e12
    rows = attention(*[(8, 1, 1000, 32, 8, 128)] * 2).assign(time_s=[least_s * 0.99, least_s * 1.01])
    assert covered_attention(PART, library, rows).time_s.tolist() == [pytest.approx(least_s * 1.01)]
    far = attention((8, 1, 10**6, 32, 8, 128), (8, 1, 1000, 32, 8, 512), (5000, 1, 1000, 32, 8, 128)).assign(
        time_s=1.0
    )
    assert covered_attention(PART, library, far).empty


def test_operations_stand_for_classes_and_know_how_many_kernels_they_are():
    rows = pd.DataFrame(
        {"op": ["rms_norm_sequence", "unheard_of"], "rows": [1, 1], "width": [8, 8], "moved_bytes": [32.0, 32.0]}
    )
    known = by_kernel_class(rows)
    assert list(known.kernel_class) == ["normalisation"]
    assert known.n_kernels[0] == 8, "as eager torch launches them"


def test_small_kernels_are_priced_as_eager_torch_launches_them():
    rows = pd.DataFrame({"kernel_class": ["residual", "residual"], "moved_bytes": [1e6, 1e9], "n_kernels": [1, 3]})
    single = [
        POOL.price_unfused(Elementwise(KernelClass.RESIDUAL, 0, moved, 0), n, 1).time_s
        for moved, n in ((1e6, 1), (1e9, 3))
    ]
    assert elementwise_times(PART, PART.elementwise, rows) == pytest.approx(single, rel=1e-9)


def test_the_joules_of_a_product_are_those_of_its_work_and_of_the_idle_board():
    """Fitted: a power while active, a price per byte of DRAM and per operation, besides 79.2 W idle."""
    fitted = PART.fitted_energy
    rows, times = products((16, 4096, 8192), (16, 4096, 8192)), np.array([1e-4, 3e-4])
    joules = linear_energies(PART, rows, times)
    assert joules[1] - joules[0] == pytest.approx((79.2 + fitted.active_w) * 2e-4)
    flop, moved = 2 * 16 * 4096 * 8192, 2 * (4096 * 8192 + 16 * 4096 + 16 * 8192)
    work = fitted.dram_j_per_byte * moved + fitted.compute_j_per_flop * flop
    assert joules[0] == pytest.approx(work + (79.2 + fitted.active_w) * 1e-4)


def test_the_joules_of_small_kernels_hold_idle_power_too():
    rows = pd.DataFrame({"kernel_class": ["residual"] * 2, "moved_bytes": [1e6, 2e6], "n_kernels": [1, 1]})
    short, long = (elementwise_energies(PART, rows, times) for times in ([1e-5, 1e-5], [2e-5, 2e-5]))
    assert ((long - short) >= 79.2 * 1e-5 * (1 - 1e-9)).all()
    per_byte = PART.elementwise.eager[KernelClass.RESIDUAL].on_chip_j_per_byte
    assert short[1] - short[0] == pytest.approx(per_byte * 1e6)


def test_steps_are_priced_for_the_model_and_the_point_of_each_row():
    rows = pd.DataFrame({"model": ["llama7b", "llama7b"], "rlp": [1, 64], "tlp": [1, 1], "kv": [512, 512]})
    few, many = step_prices(PART, rows)
    assert few.n_kernels == many.n_kernels
    assert few.time_s < many.time_s < 4 * few.time_s
