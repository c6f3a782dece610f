"""Pricing attention over many caches at once equals pricing it cache by cache, on every kind of device."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.system import load_part
from papisim.devices.base import DEVICE
from papisim.errors import NotModelled
from papisim.ops.kernel import Attention

#: parts in every way that changes how they price attention
VARIANTS = {
    "a100": [],
    "a100 that splits ungrouped caches": ["attention.use=flashinfer"],
    "h100": [],
    "h200": [],
    "h200 from tables": ["mode=table"],
    "h200 as its board draws": ["energy_model=fitted"],
    "attn_pim": [],
    "attn_pim from idle": ["refresh=from_idle"],
    "attn_pim of its paper's pace": ["fpu.paced_by_gap=true", "query_reuse_rows=1"],
    "attacc": [],
    "attacc as released": ["mapping=attacc_released"],
    "hbm_pim": [],
    "hbm4_pim": [],
    "fc_pim": [],
}
PARTS = {name: load_part(name.split()[0], settings).part for name, settings in VARIANTS.items()}
MATHEMATICALLY_EQUAL = 1e-12


def pool(name, count=1):
    part = PARTS[name]
    return DEVICE.load(part.kind).thing(name, part, count)


@st.composite
def kernels(draw, max_tlp=8):
    """Decoding attention; the mean cache is seldom a whole number of tokens, the longest at least the mean."""
    requests, tlp = draw(st.integers(1, 70)), draw(st.integers(1, max_tlp))
    kv_heads, group = draw(st.sampled_from([1, 2, 8, 32])), draw(st.sampled_from([1, 4, 8]))
    tokens = draw(st.integers(requests * tlp, requests * draw(st.sampled_from([200, 5_000, 140_000]))))
    longest = min(tokens, -(-tokens // requests) + draw(st.integers(0, 3_000)))
    return Attention(requests, requests * tlp, tokens, longest, tokens * tlp, kv_heads * group, kv_heads, 128)


def one(kernel, kv_tokens, longest_kv):
    """The same kernel over other caches."""
    tlp = kernel.query_tokens // kernel.n_requests
    return replace(kernel, kv_tokens=int(kv_tokens), longest_kv=int(longest_kv), pairs=int(kv_tokens) * tlp)


def assert_equal_to_single_prices(device, run, kernel, kv_tokens, longest_kv):
    for index, lengths in enumerate(zip(kv_tokens, longest_kv, strict=True)):
        cost = device.price(one(kernel, *lengths))
        single = [cost.time_s, *(part_j for _, part_j in cost.energy.items())]
        together = [run.time_s[index], *run.energy_j[:, index]]
        assert together == pytest.approx(single, rel=MATHEMATICALLY_EQUAL, abs=0)


@pytest.mark.parametrize("name", VARIANTS)
@settings(max_examples=15, deadline=None)
@given(data=st.data(), count=st.sampled_from([1, 3, 30]), n=st.integers(1, 60))
def test_decoding_iterations_together_cost_what_each_costs(name, data, count, n):
    released = PARTS[name].kind == "pim" and PARTS[name].mapping == "attacc_released"
    kernel, device = data.draw(kernels(max_tlp=1 if released else 8)), pool(name, count)
    if released:
        kernel, n = one(kernel, kernel.kv_tokens, min(kernel.longest_kv, 2_000)), min(n, 10)
    run, steps = device.price_growing(kernel, n), np.arange(n)
    tlp = kernel.query_tokens // kernel.n_requests
    kv_tokens, longest_kv = kernel.kv_tokens + steps * kernel.query_tokens, kernel.longest_kv + steps * tlp
    assert_equal_to_single_prices(device, run, kernel, kv_tokens, longest_kv)


@pytest.mark.parametrize("name", [name for name in VARIANTS if "released" not in name])
@settings(max_examples=8, deadline=None)
@given(kernel=kernels(), data=st.data())
def test_caches_in_any_order_together_cost_what_each_costs(name, kernel, data):
    """As they are when requests accept different numbers of drafts, or come and go."""
    sizes = st.lists(st.integers(kernel.query_tokens, 20_000 * kernel.n_requests), min_size=1, max_size=30)
    kv_tokens = np.array(data.draw(sizes))
    longest_kv = -(-kv_tokens // kernel.n_requests) + 7
    device = pool(name)
    run = device.price_caches(kernel, kv_tokens, longest_kv)
    assert_equal_to_single_prices(device, run, kernel, kv_tokens, longest_kv)


def test_the_first_iterations_of_a_run_are_those_of_a_shorter_one():
    kernel, device = Attention(16, 32, 16 * 700, 900, 32 * 700, 32, 8, 128), pool("attn_pim")
    long, short = device.price_growing(kernel, 200).first(70), device.price_growing(kernel, 70)
    assert np.array_equal(long.time_s, short.time_s)
    assert np.array_equal(long.energy_j, short.energy_j)


def test_the_shipped_tables_cover_some_of_the_caches_priced_from_them():
    """The variant from tables would otherwise test the model alone."""
    device = pool("h200 from tables")
    kernel = Attention(16, 16, 16 * 1000, 1000, 16 * 1000, 32, 8, 128)
    assert device.measured(kernel)
    assert not device.measured(replace(kernel, n_heads=24, n_kv_heads=24))


@pytest.mark.parametrize("name", ["a100", "attn_pim"])
def test_a_pool_says_when_it_cannot_know_which_cache_grows_how(name):
    ragged = Attention(4, 9, 4_000, 1_000, 9_000, 32, 32, 128)
    prompt = Attention(1, 100, 100, 100, 100 * 101 // 2, 32, 32, 128)
    for kernel in (ragged, prompt):
        with pytest.raises(ValueError, match="as many query tokens in each request"):
            pool(name).price_growing(kernel, 3)


def test_the_released_schedule_knows_one_query_token_here_too():
    with pytest.raises(NotModelled, match="one query token"):
        pool("attacc as released").price_growing(Attention(4, 8, 400, 100, 800, 32, 32, 128), 3)
