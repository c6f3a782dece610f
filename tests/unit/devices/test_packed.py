"""What quantised weights and caches do to GPUs and PIM stacks: fewer bytes, the same products."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.system import load_part
from papisim.devices import gpu, pim
from papisim.devices.pim.mapping.phases import Columns
from papisim.devices.pim.scheduler import Channel
from papisim.errors import NotModelled
from papisim.ops.formats import Packed
from papisim.ops.kernel import Attention, FcRole, KvAppend, Linear

BITS = {bits: Packed(bits, 128, 16) for bits in (8, 4)}
BARE = {bits: Packed(bits, 128, 0) for bits in (8, 4)}
GPUS = ("a100", "a100_hbm3", "h100", "h200")
WIDENING = ("fc_pim", "attn_pim", "hbm4_pim")


def gpus(name="h200", count=1, *overrides):
    """Physics alone: a measured correction is of 16-bit kernels, and packed ones have none to be compared with."""
    return gpu.Pool(name, load_part(name, ["mode=model", *overrides]).part, count)


def stacks(name="fc_pim", count=1, *overrides):
    return pim.Pool(name, load_part(name, overrides).part, count)


def linear(m, packed=None, input_bits=None, k=8192, n=8192):
    return Linear(FcRole.QKV, m, k, n, weights=packed, input_bits=input_bits)


def attention(requests, kv, packed=None, heads=32, kv_heads=8, head_dim=128, tlp=1):
    tokens = requests * kv
    return Attention(requests, requests * tlp, tokens, kv, tokens * tlp, heads, kv_heads, head_dim, kv=packed)


def narrower(make):
    """Return the kernel as traced, in eight bits and in four."""
    return [make(None), make(BITS[8]), make(BITS[4])]


# --- GPUs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("m", [1, 7, 64, 512])
def test_fewer_bytes_are_never_slower_and_save_energy(name, m):
    for make in (lambda packed: linear(m, packed), lambda packed: attention(m, 2048, packed)):
        costs = [gpus(name).price(kernel) for kernel in narrower(make)]
        times = [cost.time_s for cost in costs]
        assert times == sorted(times, reverse=True)
        joules = [cost.energy.total_j for cost in costs]
        assert joules == sorted(joules, reverse=True)


@pytest.mark.parametrize("name", GPUS)
def test_a_gemv_in_four_bits_saves_the_time_of_the_bytes_it_does_not_read(name):
    """Bound by memory, the body of the kernel shrinks nearly as its bytes do."""
    pool, (plain, _, packed) = gpus(name), narrower(lambda packed: linear(1, packed, k=16384, n=16384))
    launch_s = pool.part.linear.used.launch_s
    gain = (pool.price(plain).time_s - launch_s) / (pool.price(packed).time_s - launch_s)
    assert 0.75 * plain.read_bytes / packed.read_bytes < gain <= plain.read_bytes / packed.read_bytes


@pytest.mark.parametrize("name", GPUS)
def test_a_large_batch_gains_nothing_from_packed_weights_alone(name):
    """Tensor cores multiply in the inputs' width."""
    plain, _, packed = narrower(lambda packed: linear(4096, packed))
    assert gpus(name).price(packed).time_s > 0.9 * gpus(name).price(plain).time_s


@pytest.mark.parametrize("name", GPUS)
def test_a_large_batch_gains_from_inputs_of_eight_bits_what_the_tensor_cores_do(name):
    pool = gpus(name)
    wide, narrow = pool.price(linear(4096, BARE[8])), pool.price(linear(4096, BARE[8], input_bits=8))
    peaks = pool.part.peak_8bit_flop_per_s / pool.part.peak_flop_per_s
    assert 0.8 * peaks < wide.time_s / narrow.time_s <= peaks * 1.05
    assert narrow.bound == "compute"


def test_weights_in_four_bits_gain_what_marlin_measures():
    """Nearly four times to 16 token-rows, less and less to 128 (Frantar et al., PPoPP 2025, Figure 1, shapes as theirs)."""

    def gain(m):
        plain, _, packed = narrower(lambda packed: linear(m, packed, k=18432, n=73728))
        return gpus("a100").price(plain).time_s / gpus("a100").price(packed).time_s

    gains = [gain(m) for m in (1, 16, 32, 64, 128)]
    assert gains == sorted(gains, reverse=True)
    assert 0.95 * 16 / 4.125 < gains[1] < 16 / 4.125
    assert gains[2] > 3
    assert 1.2 < gains[4] < 2


def test_no_price_beats_the_peaks():
    for name in GPUS:
        pool = gpus(name)
        for m in (1, 16, 256, 4096):
            for packed, bits in ((BITS[4], None), (BITS[8], None), (BITS[8], 8), (BITS[4], 8)):
                kernel = linear(m, packed, bits)
                peak = pool.part.peak_8bit_flop_per_s if bits else pool.part.peak_flop_per_s
                moved_s = (kernel.read_bytes + kernel.write_bytes) / pool.part.memory_bandwidth_bytes_per_s
                assert pool.price(kernel).time_s >= max(kernel.flop / peak, moved_s)


def test_a_part_without_an_eight_bit_rate_refuses_inputs_of_eight_bits_and_says_what_to_do():
    part = load_part("a100").part.model_copy(update={"peak_8bit_flop_per_s": None})
    pool = gpu.Pool("a100", part, 1)
    with pytest.raises(NotModelled, match=r"peak_8bit_flop_per_s.*quantisation.activation_bits=16"):
        pool.price(linear(1, BITS[8], 8))
    assert pool.price(linear(1, BITS[8])).time_s


def test_attention_gains_most_where_streaming_the_cache_takes_longest():
    short, long = (
        gpus().price(attention(64, kv)).time_s / gpus().price(attention(64, kv, BITS[4])).time_s for kv in (64, 16384)
    )
    assert 1 <= short < 1.5 < long <= 16 / 4.125


def test_measured_tables_do_not_speak_of_packed_kernels():
    pool = gpus("h200", 1, "mode=table")
    measured = linear(16, k=4096, n=4096)
    assert pool.measured(measured)
    assert not pool.measured(replace(measured, weights=BITS[4]))
    assert pool.outside(replace(measured, weights=BITS[4])) == "packed weights, inputs or caches"


def test_ranks_share_packed_weights():
    """Each reads a sixth of them, scales included."""
    kernel = linear(1, BITS[4], k=6 * 2048, n=6 * 2048)
    six, one = gpus("h200", 6).price(kernel), gpus("h200", 1).price(replace(kernel, n=2048))
    assert six.time_s == one.time_s


# --- PIM stacks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WIDENING)
@pytest.mark.parametrize("count", [1, 32])
@pytest.mark.parametrize("m", [1, 4, 16])
def test_a_column_holds_more_and_is_multiplied_in_more_turns(name, count, m):
    """Columns shrink with the bits; products, and so the FPUs' time, stay: the gain ends where FPUs bind.

    Columns and outputs of a way are whole, which many stacks feel most.
    """
    pool, kernels = stacks(name, count), narrower(lambda packed: linear(m, packed))
    columns = [pool.priced(kernel).activity.columns for kernel in kernels]
    assert columns[1] == pytest.approx(columns[0] * (8 + 0.125) / 16, rel=0.02 if count == 1 else 0.12)
    assert columns[2] == pytest.approx(columns[0] * (4 + 0.125) / 16, rel=0.06 if count == 1 else 0.25)
    times = [pool.price(kernel).time_s for kernel in kernels]
    assert times[0] >= times[1] * (0.97 if count == 1 else 0.85)
    assert times[0] / times[2] < 16 / 4.125 * 1.05


def test_a_gemv_on_four_fpus_a_bank_is_four_times_as_fast_in_four_bits():
    """4P1B: each FPU multiplies a quarter of the column's 64 numbers in the time that columns are apart anyway."""
    pool, (plain, _, packed) = stacks("fc_pim"), narrower(lambda packed: linear(1, packed, k=16384, n=16384))
    gain = pool.price(plain).time_s / pool.price(packed).time_s
    assert 0.9 * 16 / 4.125 < gain < 16 / 4.125 * 1.05


def test_where_fpus_bind_fewer_bits_change_little():
    pool, (plain, _, packed) = stacks("fc_pim"), narrower(lambda packed: linear(16, packed, k=16384, n=16384))
    assert pool.price(plain).bound == pool.price(packed).bound == "fpu"
    assert pool.price(packed).time_s == pytest.approx(pool.price(plain).time_s, rel=0.1)


def test_inputs_stay_in_the_traces_width_and_take_as_many_bursts():
    pool = stacks("fc_pim")
    plain, packed = (pool.priced(linear(4, packed)).activity for packed in (None, BARE[4]))
    assert packed.data_path_bytes == pytest.approx(plain.data_path_bytes, rel=0.1)


def test_several_tokens_share_a_column_of_a_cache_in_four_bits():
    """A head of 128 in 64s fills half of four banks' columns."""
    pool = stacks("attn_pim")
    plain, packed = (
        pool.priced(attention(16, 4096, packed, heads=1, kv_heads=1)).activity.columns for packed in (None, BARE[4])
    )
    assert packed == pytest.approx(plain / 4, rel=0.01)


@pytest.mark.parametrize("name", WIDENING)
@pytest.mark.parametrize("bits", [8, 4])
def test_a_packed_cache_is_read_and_multiplied_no_slower_but_for_its_scales(name, bits):
    pool = stacks(name, 4)
    for requests, kv, heads in ((1, 8192, 8), (64, 4096, 8), (16, 4096, 64)):
        plain = pool.price(attention(requests, kv, None, heads=heads)).time_s
        assert pool.price(attention(requests, kv, BITS[bits], heads=heads)).time_s <= plain * 1.05


def test_an_append_writes_what_the_cache_stores():
    pool = stacks("attn_pim")
    assert pool.price(KvAppend(1 << 18, 1 << 20)) == pool.price(KvAppend(1 << 18))
    on_gpu = [gpus().price(kernel).time_s for kernel in (KvAppend(1 << 26), KvAppend(1 << 24, 1 << 26))]
    assert on_gpu[1] < on_gpu[0]


@pytest.mark.parametrize("name", ["attacc", "hbm_pim", "hbm_pim_hbm3"])
def test_units_that_take_their_own_format_alone_refuse_packed_numbers(name):
    for kernel in (linear(1, BITS[4]), attention(4, 128, BITS[8])):
        with pytest.raises(NotModelled, match=r"units take none \(fields fpu\.widens_bits, fpu\.lanes_by_bits\)"):
            stacks(name).price(kernel)


def test_the_released_schedule_of_attacc_knows_no_packed_caches():
    widened = load_part("attacc", ["mapping=attacc_released", "fpu.widens_bits=[8]"]).part
    with pytest.raises(NotModelled, match="mapping physical has them"):
        pim.Pool("attacc", widened, 1).price(attention(4, 128, BITS[8], heads=8))


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(WIDENING),
    bits=st.sampled_from([8, 4]),
    m=st.integers(1, 20),
    k=st.integers(1, 600),
    n=st.integers(1, 1500),
    kv=st.integers(1, 300),
    heads=st.sampled_from([1, 2, 4]),
)
def test_packed_kernels_are_timed_as_their_commands_are_issued(name, bits, m, k, n, kv, heads):
    pool = stacks(name)
    for kernel in (linear(m, BITS[bits], k=k, n=n), attention(m, kv, BITS[bits], heads=heads, kv_heads=1)):
        commands, rules = pool.commands(kernel)
        channel = Channel(pool.part.timing, rules)
        assert pool.priced(kernel).cycles_from_idle == channel.run(commands)


@pytest.mark.parametrize("pool", [gpus(), stacks("attn_pim", 4)], ids=["gpu", "pim"])
def test_packed_caches_of_many_lengths_are_priced_at_once_as_one_by_one(pool):
    kernel, tokens = attention(8, 1, BITS[4]), np.arange(8, 4000, 399, dtype=np.int64)
    at_once = pool.price_caches(kernel, 8 * tokens, tokens).time_s
    one_by_one = [pool.price(attention(8, int(kv), BITS[4])).time_s for kv in tokens]
    assert at_once == pytest.approx(one_by_one)


def test_columns_of_scales_come_on_top_and_are_used_as_often_as_inputs_are_wide():
    """Thirty-two columns of 64 numbers have one of scales, which one FPU a bank passes in a quarter of their time."""
    geometry = stacks("attacc", 1, "fpu.widens_bits=[4]", "power_limited=false").geometry
    held = geometry.columns(2, Packed(4, 128, 16), 128)
    assert held == Columns(elements=16, stored=64, scale_ratio=1 / 32, uses=4)
    assert held.inputs == 4
    plain, packed = geometry.sweep(128, 1, Columns(16, 64, uses=4)), geometry.sweep(128, 1, held)
    assert packed.gap == plain.gap == 16
    assert packed.columns == plain.columns + 1
