"""What no PIM stack may do: get slower with more hardware, lose energy, or be faster with more work."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.ops.kernel import Attention, FcRole, Linear

NAMES = ("attacc", "fc_pim", "attn_pim", "hbm_pim")
PARTS = {name: load_part(name, ["power_limited=false"]).part.model_copy(update={"area": None}) for name in NAMES}
names, counts = st.sampled_from(NAMES), st.integers(1, 8)
linears = st.builds(Linear, st.just(FcRole.QKV), st.integers(1, 130), st.integers(1, 20000), st.integers(1, 20000))


@st.composite
def attentions(draw):
    requests, tlp, kv = draw(st.integers(1, 64)), draw(st.integers(1, 8)), draw(st.integers(1, 5000))
    kv_heads, group = draw(st.integers(1, 16)), draw(st.integers(1, 8))
    tokens = requests * kv
    return Attention(requests, requests * tlp, tokens, kv, tokens * tlp, kv_heads * group, kv_heads, 128)


kernels = st.one_of(linears, attentions())


def changed(part, **groups):
    return part.model_copy(
        update={group: getattr(part, group).model_copy(update=fields) for group, fields in groups.items()}
    )


def time_s(part, kernel, count):
    return Pool("p", part, count).price(kernel).time_s


@settings(max_examples=80, deadline=None)
@given(name=names, kernel=kernels, count=counts, more=st.integers(1, 4))
def test_more_fpus_are_never_slower(name, kernel, count, more):
    part = PARTS[name]
    richer = changed(part, fpu={"fpus": part.fpu.fpus + more})
    assert time_s(richer, kernel, count) <= time_s(part, kernel, count)


@settings(max_examples=60, deadline=None)
@given(name=names, kernel=kernels, count=counts, factor=st.floats(1, 4))
def test_a_faster_fpu_clock_is_never_slower(name, kernel, count, factor):
    part = PARTS[name]
    faster = changed(part, fpu={"clock_hz": part.fpu.clock_hz * factor})
    assert time_s(faster, kernel, count) <= time_s(part, kernel, count)


@settings(max_examples=60, deadline=None)
@given(
    name=names,
    kernel=kernels,
    count=counts,
    field=st.sampled_from(["rcd", "rp", "ras", "rtp", "column_gap", "burst", "rfc"]),
    more=st.integers(1, 20),
)
def test_a_slower_dram_is_never_faster(name, kernel, count, field, more):
    timing = PARTS[name].timing
    slower = changed(PARTS[name], timing={field: getattr(timing, field) + more})
    cut = {"split_inputs": False}  # a weight may be cut differently, and luckily, on other timing
    assert time_s(slower.model_copy(update=cut), kernel, count) >= time_s(
        PARTS[name].model_copy(update=cut), kernel, count
    )


@settings(max_examples=80, deadline=None)
@given(name=names, kernel=linears, count=counts, fewer=st.integers(1, 129))
def test_fewer_token_rows_are_never_slower(name, kernel, count, fewer):
    less = Linear(kernel.role, max(1, kernel.m - fewer), kernel.k, kernel.n)
    assert time_s(PARTS[name], less, count) <= time_s(PARTS[name], kernel, count)


@settings(max_examples=60, deadline=None)
@given(name=names, kernel=attentions(), count=counts)
def test_a_longer_cache_is_never_faster(name, kernel, count):
    kv = kernel.longest_kv + 1
    tokens = kernel.n_requests * kv
    longer = Attention(
        kernel.n_requests, kernel.query_tokens, tokens, kv, kernel.query_tokens * kv,
        kernel.n_heads, kernel.n_kv_heads, kernel.head_dim,
    )  # fmt: skip
    assert time_s(PARTS[name], longer, count) >= time_s(PARTS[name], kernel, count)


@settings(max_examples=60, deadline=None)
@given(name=names, kernel=kernels, count=counts)
def test_energy_is_the_sum_of_its_activity_and_covers_all_data(name, kernel, count):
    pool = Pool("p", PARTS[name], count)
    cost, activity = pool.price(kernel), pool.priced(kernel).activity
    table = pool.part.energy
    expected_j = (
        activity.activations * table.activation_j
        + activity.columns * 32 * (table.column_j_per_byte + table.to_fpu_j_per_byte)
        + activity.data_path_bytes * table.data_path_j_per_byte
        + activity.macs * 2 * table.fpu_j_per_flop
        + activity.logic_flop * table.logic_j_per_flop
    )
    assert cost.energy.total_j == pytest.approx(expected_j)
    data = kernel.weight_bytes if isinstance(kernel, Linear) else kernel.kv_bytes
    assert activity.columns * 32 >= data * (1 - 1e-12)
    assert activity.macs * 2 >= kernel.flop - activity.logic_flop


@settings(max_examples=60, deadline=None)
@given(name=names, kernel=kernels, count=counts)
def test_no_kernel_beats_its_banks_or_its_fpus(name, kernel, count):
    part = PARTS[name]
    banks, fpu = part.organisation.banks * count, part.fpu
    data = kernel.weight_bytes if isinstance(kernel, Linear) else kernel.kv_bytes
    column_s = part.timing.column_gap * part.timing.tck_s * fpu.banks_in_turn
    fpu_flop_per_s = banks * fpu.fpus / fpu.per_banks * fpu.lanes * 2 / fpu.column_s
    softmax_flop = 0 if isinstance(kernel, Linear) else 5 * kernel.pairs * kernel.n_heads
    cost = Pool("p", part, count).price(kernel)
    assert cost.time_s >= data / 32 / banks * column_s * (1 - 1e-9)
    assert cost.time_s >= (kernel.flop - softmax_flop) / fpu_flop_per_s * (1 - 1e-9)
