"""What one kernel's price takes, and one more iteration of a long stretch of them."""

from itertools import count

import pytest

from papisim.config.system import load_part
from papisim.devices.base import DEVICE
from papisim.ops.kernel import Attention, FcRole, Linear

pytestmark = [pytest.mark.bench, pytest.mark.benchmark(group="kernel pricing")]

#: a GPU that never splits the caches of llama7b, and always those of grouped queries; PIM with each data path
DEVICES = ("a100", "attn_pim", "hbm_pim")
KERNELS = 500


def pool(name):
    part = load_part(name).part
    return DEVICE.load(part.kind).thing(name, part, 6)


def attention(requests, kv, tlp=1, n_kv_heads=32):
    tokens = requests * kv
    return Attention(requests, requests * tlp, tokens, kv, tokens * tlp, 32, n_kv_heads, 128)


def price_new_kernels(benchmark, name, make):
    """Price kernels that no pool has seen; the first call's set-up is left out."""
    device, sizes = pool(name), count()

    def price():
        for _ in range(KERNELS):
            device.price(make(next(sizes)))

    benchmark.pedantic(price, rounds=7, warmup_rounds=1)
    benchmark.extra_info["per"] = KERNELS


@pytest.mark.parametrize("name", DEVICES)
def test_an_fc_kernel(benchmark, name):
    price_new_kernels(benchmark, name, lambda size: Linear(FcRole.QKV, 1 + size, 4096, 12288))


@pytest.mark.parametrize("name", DEVICES)
def test_attention(benchmark, name):
    price_new_kernels(benchmark, name, lambda size: attention(1 + size % 64, 500 + size))


def test_attention_of_grouped_queries_on_a_gpu(benchmark):
    price_new_kernels(benchmark, "a100", lambda size: attention(1 + size % 64, 500 + size, n_kv_heads=8))


@pytest.mark.parametrize("n", [1, 1_000])
@pytest.mark.parametrize("name", DEVICES)
def test_attention_of_successive_iterations(benchmark, name, n):
    device, kernel = pool(name), attention(16, 700)
    benchmark.pedantic(device.price_growing, (kernel, n), rounds=30, iterations=20, warmup_rounds=1)
