"""Where data lies, and what that costs: padding, imbalance, buffers, and energy of reuse."""

import pytest

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.mapping.attention import query_rows
from papisim.devices.pim.mapping.linear import block
from papisim.errors import NotModelled
from papisim.ops.kernel import Attention, Elementwise, FcRole, KernelClass, KvAppend, Linear


def pool(name="attacc", count=1, *overrides):
    return Pool(name, load_part(name, overrides).part, count)


def linear(m, k, n):
    return Linear(FcRole.QKV, m, k, n)


def attention(requests, kv, tlp=1, heads=1, kv_heads=None, head_dim=128, longest=None):
    tokens = requests * kv
    return Attention(
        requests, requests * tlp, tokens, longest or kv, tokens * tlp, heads, kv_heads or heads, head_dim
    )


def columns(device, kernel):
    return device.priced(kernel).activity.columns


def test_a_weight_that_divides_evenly_is_read_without_padding():
    device = pool()
    assert columns(device, linear(1, 1024, 4096)) * 32 == 1024 * 4096 * 2


@pytest.mark.parametrize(("k", "n"), [(1025, 4096), (1024, 4097), (1, 1)])
def test_padding_is_read_and_paid(k, n):
    device = pool()
    assert columns(device, linear(1, k, n)) * 32 > k * n * 2


def test_the_cut_over_stacks_does_not_depend_on_token_rows():
    geometry = pool(count=30).geometry
    assert block(geometry, 8192, 8192, geometry.columns(2)) == block(geometry, 8192, 8192, geometry.columns(2))
    cut = block(geometry, 8192, 8192, geometry.columns(2))
    assert cut.cuts_k * cut.cuts_n <= 30
    assert cut.cuts_k * cut.deep * 64 >= 8192
    assert cut.cuts_n * cut.outputs * 256 >= 8192


def test_reuse_reads_no_column_twice_and_costs_fpu_energy_only():
    device = pool("fc_pim", 30)
    one, four = device.priced(linear(1, 8192, 8192)), device.priced(linear(4, 8192, 8192))
    assert four.activity.columns == one.activity.columns
    assert four.activity.activations == one.activity.activations
    assert four.activity.macs == 4 * one.activity.macs


def test_four_fpus_a_bank_serve_four_token_rows_in_the_time_of_one():
    device = pool("fc_pim", 30)
    one, four, five = (device.price(linear(m, 8192, 8192)).time_s for m in (1, 4, 5))
    assert four < 1.1 * one
    assert five > 1.3 * four


def test_token_rows_beyond_the_result_buffer_read_every_column_again():
    small = pool("attacc", 1, "buffers.result_bytes=64 B")
    once, again = columns(small, linear(1, 256, 4096)), columns(small, linear(4, 256, 4096))
    assert again == 2 * once, "two columns of sums hold two token-rows of these sixteen outputs a way"
    assert columns(pool(), linear(4, 256, 4096)) == once


def test_pairs_up_to_the_channels_take_the_time_of_one():
    device = pool("attacc", 2)
    one, full, over = (device.price(attention(requests, 512)).time_s for requests in (1, 32, 33))
    assert one == full
    assert over > 1.3 * full


def test_grouped_queries_and_draft_tokens_read_each_column_once():
    device = pool("attn_pim")
    alone, grouped, drafted = attention(16, 512), attention(16, 512, heads=8, kv_heads=1), attention(16, 512, tlp=8)
    assert columns(device, alone) == columns(device, grouped) == columns(device, drafted)
    assert query_rows(grouped) == query_rows(drafted) == 8
    assert device.price(grouped).time_s == device.price(drafted).time_s > device.price(alone).time_s


@pytest.mark.parametrize("tlp", [1, 4])
def test_attention_moves_queries_in_scores_out_and_back_and_partial_contexts_out(tlp):
    """512 tokens of a head of 128 over 16 bank groups, in 2 ranks of 2 pseudo-channels: all in two bytes."""
    query, scores, context = 128 * 2, 512 * 2, 128 * 2
    moved = pool().priced(attention(1, 512, tlp=tlp)).activity.data_path_bytes
    assert moved == tlp * (query + 2 * scores + 4 * context)


@pytest.mark.parametrize("m", [1, 4])
def test_fc_kernels_move_inputs_in_once_per_channel_and_outputs_out_once(m):
    moved = pool().priced(linear(m, 1024, 4096)).activity.data_path_bytes
    assert moved == m * 2 * (16 * 1024 + 4096)


def test_softmax_is_the_work_of_the_logic_die():
    assert pool().priced(attention(3, 512, tlp=2, heads=4)).activity.logic_flop == 5 * 3 * 512 * 2 * 4


def test_the_longest_request_holds_up_a_batch_that_fits_the_channels():
    device = pool("attacc", 4)
    even, ragged = attention(8, 512), attention(8, 512, longest=2048)
    assert device.price(ragged).time_s == device.price(attention(8, 2048)).time_s
    assert columns(device, ragged) == columns(device, even)


def test_in_many_rounds_long_and_short_requests_even_out():
    device = pool("attacc", 1)
    even, ragged = attention(160, 512), attention(160, 512, longest=2048)
    assert device.price(ragged).time_s == device.price(even).time_s


def test_a_head_may_be_spread_over_idle_channels():
    narrow, wide = pool("attacc", 1), pool("attacc", 1, "channels_per_head=4")
    kernel = attention(4, 4096)
    assert wide.price(kernel).time_s < 0.5 * narrow.price(kernel).time_s


def test_prefill_rows_are_the_average_that_see_each_key():
    prompt = Attention(2, 200, 200, 100, 2 * 5050, 4, 4, 128)
    assert query_rows(prompt) == 51


def test_appending_costs_the_new_tokens_and_a_row():
    device = pool("attn_pim", 60)
    small, large = device.price(KvAppend(1 << 10)), device.price(KvAppend(1 << 26))
    assert 0 < small.time_s < large.time_s
    assert large.energy.total_j == pytest.approx(2**16 * small.energy.total_j)


@pytest.mark.parametrize(("new_bytes", "columns"), [(32, 1), (60 * 32 * 32, 1), (60 * 32 * 32 + 1, 2)])
def test_an_append_opens_a_row_writes_its_columns_and_closes_the_row(new_bytes, columns):
    """60 stacks of 16 channels of 2 pseudo-channels write a column each per burst."""
    device = pool("attn_pim", 60)
    timing = device.part.timing
    expected = timing.rcd + timing.cwl + columns * timing.burst + timing.wr + timing.rp
    assert device.priced(KvAppend(new_bytes)).cycles_from_idle == expected
    assert device.priced(KvAppend(new_bytes)).activity.columns == -(-new_bytes // 32)


def test_elementwise_kernels_stream_through_the_logic_die():
    device = pool("attacc", 2)
    cost = device.price(Elementwise(KernelClass.NORMALISATION, 10, 670_400, 670_400))
    assert cost.time_s == pytest.approx(1e-6, rel=1e-3)
    assert cost.bound == "data_path"


def test_sustained_refresh_costs_its_average_rate_and_a_short_kernel_from_idle_none():
    kernel = linear(1, 1024, 1024)
    timing = pool().part.timing
    from_idle = pool("attacc", 1, "refresh=from_idle").priced(kernel)
    assert from_idle.refreshes == 0
    ratio = pool().priced(kernel).cycles / from_idle.cycles
    assert ratio == pytest.approx(timing.refi / (timing.refi - timing.rfc), rel=0.01)


def test_the_released_mapping_knows_one_query_token_only():
    released = pool("attacc", 1, "mapping=attacc_released")
    with pytest.raises(NotModelled, match="TLP > 1"):
        released.price(attention(4, 128, tlp=2))
    with pytest.raises(NotModelled, match="generator"):
        pool("attn_pim", 1, "mapping=attacc_released").price(attention(4, 128))


@pytest.mark.parametrize(
    ("device", "kernel", "bound"),
    [
        (pool("attacc", 30), linear(1, 8192, 8192), "column_gap"),
        (pool("attacc", 30), linear(16, 8192, 8192), "fpu"),
        (pool("attacc", 1), linear(16, 64000, 16), "data_path"),
        (pool("attacc", 1, "logic.rate_flop_per_s=1 GFLOP/s"), attention(16, 2048), "softmax"),
        (pool("attacc", 1), attention(16, 32), "row_activation"),
    ],
)
def test_a_price_names_what_binds(device, kernel, bound):
    assert device.price(kernel).bound == bound
