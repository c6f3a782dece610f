"""What every shipped device must do, whatever its kind; a new YAML file is tested by being there."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.base import Spec
from papisim.config.system import load_part
from papisim.devices.base import DEVICE
from papisim.ops.cost import ENERGY_PARTS
from papisim.ops.kernel import Attention, Elementwise, FcRole, KernelClass, KvAppend, Linear


def physics(part):
    """Leave out what was measured: silicon is slower for some smaller matrices than for larger ones, physics is not."""
    return part.model_copy(update={"mode": "model"}) if part.kind == "gpu" else part


PARTS = {name: physics(load_part(name).part) for name in catalog.shipped(Shelf.DEVICE)}
POOLS = {name: DEVICE.load(part.kind).thing for name, part in PARTS.items() if DEVICE.has_own(part.kind)}


def attention(requests, tlp, kv, *, n_heads=32, n_kv_heads=32, head_dim=128):
    """Requests of equal length."""
    tokens = requests * kv
    return Attention(requests, requests * tlp, tokens, kv, tokens * tlp, n_heads, n_kv_heads, head_dim)


KERNELS = {
    "gemv": Linear(FcRole.QKV, 1, 4096, 12288),
    "gemm": Linear(FcRole.FEED_FORWARD_UP, 64, 8192, 22016),
    "odd": Linear(FcRole.PROJECTION, 7, 1000, 4099),
    "one": Linear(FcRole.ROUTER, 1, 1, 1),
    "lm_head": Linear(FcRole.LM_HEAD, 16, 4096, 32000),
    "attention": attention(16, 1, 700),
    "speculative": attention(4, 8, 129),
    "grouped": attention(16, 2, 700, n_heads=64, n_kv_heads=8),
    "prefill": attention(8, 100, 100),
    "one_token": attention(1, 1, 1),
    "append": KvAppend(1 << 20),
    "append_one": KvAppend(1),
    **{
        kernel_class: Elementwise(kernel_class, 1 << 16, 1 << 18, 1 << 17)
        for kernel_class in KernelClass
        if kernel_class not in (KernelClass.FC, KernelClass.ATTENTION, KernelClass.KV_APPEND)
    },
}


def grown(kernel, count):
    """Yield kernels that are the same but for more of one thing.

    On several devices larger k and n are left out: another shape is cut in another way, which may be more even. The
    cut depends on the shape alone, since weights never move.
    """
    match kernel:
        case Linear():
            sizes = ("m", "k", "n") if count == 1 else ("m",)
        case Attention(n_heads=heads, n_kv_heads=kv_heads):
            requests, kv = 2 * kernel.n_requests, 2 * kernel.kv_tokens
            yield replace(kernel, query_tokens=2 * kernel.query_tokens, pairs=2 * kernel.pairs)
            yield replace(kernel, kv_tokens=kv, longest_kv=2 * kernel.longest_kv, pairs=2 * kernel.pairs)
            yield replace(kernel, n_heads=2 * heads, n_kv_heads=2 * kv_heads)
            yield replace(
                kernel,
                n_requests=requests,
                query_tokens=2 * kernel.query_tokens,
                kv_tokens=kv,
                pairs=2 * kernel.pairs,
            )
            return
        case KvAppend():
            sizes = ("new_bytes",)
        case Elementwise():
            sizes = ("flop", "read_bytes", "write_bytes")
    for size in sizes:
        for more in (getattr(kernel, size) + 1, 2 * getattr(kernel, size)):
            yield replace(kernel, **{size: more})


def sped_up(value, name, factor):
    """Multiply every rate of a part and divide every time; powers go with rates, since energies stay."""
    if isinstance(value, Spec):
        fields = {inner: sped_up(getattr(value, inner), inner, factor) for inner in type(value).model_fields}
        return value.model_copy(update=fields)
    if isinstance(value, dict):
        return {key: sped_up(inner, str(key), factor) for key, inner in value.items()}
    if name.endswith(("_per_s", "_hz", "_w")):
        return value * factor
    return value / factor if name.endswith("_s") else value


def price(name, kernel, count=6, part=None):
    return POOLS[name](name, part or PARTS[name], count).price(kernel)


def test_gpus_and_pim_stacks_are_both_under_test():
    assert {PARTS[name].kind for name in POOLS} == {"gpu", "pim"}
    assert set(PARTS) - set(POOLS) == {name for name, part in PARTS.items() if part.kind == "link"}


on_every_device = pytest.mark.parametrize("name", POOLS)
for_every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


@on_every_device
@for_every_kernel
def test_work_takes_time_and_energy_and_says_what_binds_it(name, kernel):
    cost = price(name, kernel)
    assert cost.time_s > 0
    assert cost.bound
    assert [part for part, joules in cost.energy.items() if joules < 0] == []
    assert cost.energy.total_j > 0
    assert cost.energy.total_j == pytest.approx(sum(getattr(cost.energy, part) for part in ENERGY_PARTS))
    assert cost.energy.static_j == 0, "static energy accrues with time, not with kernels"


@on_every_device
@for_every_kernel
def test_a_price_is_a_pure_function(name, kernel):
    pool = POOLS[name](name, PARTS[name], 6)
    first = pool.price(kernel)
    for other in KERNELS.values():
        pool.price(other)
    assert pool.price(kernel) == first == price(name, kernel)


@on_every_device
@for_every_kernel
@pytest.mark.parametrize("count", [1, 6])
def test_more_work_is_never_faster(name, kernel, count):
    time_s = price(name, kernel, count).time_s
    for more in grown(kernel, count):
        assert price(name, more, count).time_s >= time_s * (1 - 1e-12), more


@on_every_device
@pytest.mark.parametrize("label", [label for label, kernel in KERNELS.items() if not isinstance(kernel, Linear)])
def test_more_work_never_takes_less_energy(name, label):
    """FC aside: the fastest way to run a larger matrix product may open fewer rows."""
    energy_j = price(name, KERNELS[label]).energy.total_j
    for more in grown(KERNELS[label], 6):
        assert price(name, more).energy.total_j >= energy_j * (1 - 1e-12), more


@on_every_device
@for_every_kernel
def test_more_devices_are_never_slower(name, kernel):
    times = [price(name, kernel, count).time_s for count in (1, 2, 4, 8, 16, 32, 64)]
    assert times == sorted(times, reverse=True)


@on_every_device
@for_every_kernel
def test_twice_every_rate_and_half_every_time_is_half_the_time(name, kernel):
    """A constant hidden in the code would not scale."""
    fast = sped_up(PARTS[name], "", 2.0)
    assert price(name, kernel, part=fast).time_s == pytest.approx(price(name, kernel).time_s / 2, rel=1e-9)


@on_every_device
@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 128), k=st.integers(16, 96), n=st.integers(16, 96), count=st.sampled_from([1, 6, 30]))
def test_no_fc_kernel_of_a_model_is_faster_for_twice_the_rows_inputs_or_outputs(name, *, m, k, n, count):
    """Widths of decoders are multiples of 128, a head's width."""
    k, n = 128 * k, 128 * n
    time_s = price(name, Linear(FcRole.QKV, m, k, n), count).time_s
    for larger in ((2 * m, k, n), (m, 2 * k, n), *([(m, k, 2 * n)] if n % count == 0 else [])):
        assert price(name, Linear(FcRole.QKV, *larger), count).time_s >= time_s * (1 - 1e-12), larger


@on_every_device
@settings(max_examples=40, deadline=None)
@given(requests=st.integers(1, 64), tlp=st.integers(1, 8), kv=st.integers(8, 2000), more=st.integers(0, 500))
def test_no_attention_is_faster_for_longer_caches_or_larger_batches(name, *, requests, tlp, kv, more):
    time_s = price(name, attention(requests, tlp, kv)).time_s
    assert price(name, attention(requests, tlp, kv + more)).time_s >= time_s * (1 - 1e-12)
    assert price(name, attention(requests + more, tlp, kv)).time_s >= time_s * (1 - 1e-12)


@on_every_device
def test_capacity_and_static_power_grow_with_the_count(name):
    one, six = (POOLS[name](name, PARTS[name], count) for count in (1, 6))
    assert six.capacity_bytes == 6 * one.capacity_bytes > 0
    assert six.static_w == 6 * one.static_w >= 0
