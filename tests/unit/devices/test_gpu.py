from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.system import load_part
from papisim.devices.gpu import FittedEnergy, Part, Pool
from papisim.devices.gpu.attention import AttentionShapes, decode_times, prefill_times
from papisim.devices.gpu.elementwise import streaming_s
from papisim.devices.gpu.energy import kernel_energy, streaming_energy
from papisim.devices.gpu.linear import linear_times, norm, roofline_times, waves
from papisim.devices.gpu.part import FusedStreaming, Streaming
from papisim.ops.kernel import Attention, Elementwise, FcRole, KernelClass, KvAppend, Linear
from papisim.ops.lower import chunk_lengths, ragged_lengths

STREAM = {"launch_s": 1e-6, "on_chip_bytes_per_s": 5e12}
#: no loss anywhere: a roofline with a fixed cost
LINEAR = {
    "description": "ideal", "measured_as": ["theirs"], "launch_s": 2e-6, "bandwidth_ratio": 0.5, "reread_ratio": 0,
    "tensor_ratio": 0.8, "on_chip_bytes_per_s": 1e30, "tile_fixed_s": 0, "wave_ratio": 0, "overlap_exponent": 1000,
    "split_fixed_s": 0, "split_bytes_per_s": 1e30, "selection_exponent": 1, "tiles": [[1, 1]], "splits": [1],
    "tile_depth": 1, "covers_m": [1, 1024], "covers_k": [1, 1e5], "covers_n": [1, 1e5],
}  # fmt: skip
PREFILL = {
    "launch_s": 2e-6, "tensor_ratio": 0.5, "bandwidth_ratio": 1, "tile_fixed_s": 0, "wave_ratio": 1,
    "overlap_exponent": 1000, "query_tile": 128, "key_tile": 64,
}  # fmt: skip
ATTENTION = {
    "description": "ideal", "measured_as": [], "packing": "always", "splits": "never", "splits_ungrouped": False,
    "max_splits": 64, "query_tile": 64, "key_tile": 128, "launch_s": 2e-6, "repack_s": 0, "tile_fixed_s": 0,
    "lone_bytes_per_s": 1e30, "on_chip_bytes_per_s": 1e30, "bandwidth_ratio": 0.5, "wave_ratio": 1,
    "overlap_exponent": 1000, "split_fixed_s": 0, "split_bytes_per_s": 1e30, "prefill": PREFILL,
    "covers_kv": [1, 4096], "covers_requests": [1, 64], "covers_head_dim": [128, 128],
}  # fmt: skip
PART = Part.model_validate({
    "kind": "gpu", "description": "round numbers", "capacity_bytes": 80e9, "static_w": 50, "board_w": 400,
    "peak_flop_per_s": 100e12, "memory_bandwidth_bytes_per_s": 1e12, "multiprocessors": 100,
    "linear": {"use": "ideal", "libraries": {"ideal": LINEAR}},
    "attention": {"use": "ideal", "libraries": {"ideal": ATTENTION}},
    "elementwise": {
        "description": "ideal", "bandwidth_ratio": 0.5, "cache_bytes": 1e6, "fused": STREAM,
        "eager": {"rotary": {"launch_s": 3e-6, "on_chip_bytes_per_s": 1e12}},
    },
    "energy_model": "per_access",
    "energy": {
        "dram_activation_j_per_byte": 1e-12, "dram_access_j_per_byte": 2e-12, "dram_transfer_j_per_byte": 3e-12,
        "on_chip_j_per_byte": 4e-12, "compute_j_per_flop": 5e-12,
    },
})  # fmt: skip
#: memory that is never in the way
FAST_MEMORY = PART.model_copy(update={"memory_bandwidth_bytes_per_s": 1e30})
FC = Linear(FcRole.QKV, 16, 4096, 12288)
DECODE = Attention(4, 4, 4000, 1000, 4000, n_heads=32, n_kv_heads=8, head_dim=128)


def library(**changes):
    return PART.linear.used.model_copy(update=changes)


def attention_library(**changes):
    return PART.attention.used.model_copy(update=changes)


def gpus(count=1, **changes):
    return Pool("gpu", PART.model_copy(update=changes), count)


def with_linear(**changes):
    kernels = PART.linear.model_copy(update={"libraries": {"ideal": library(**changes)}})
    return gpus(linear=kernels)


def moved(kernel):
    return kernel.read_bytes + kernel.write_bytes


def decode(library, **changes):
    sizes = {"requests": 4, "queries": 1, "kv": 1024, "heads": 32, "kv_heads": 8} | changes
    columns = (
        sizes["requests"],
        sizes["queries"],
        sizes["kv"],
        sizes["kv"],
        sizes["heads"],
        sizes["kv_heads"],
        128,
        2,
    )
    return float(decode_times(PART, library, AttentionShapes.table(*columns))[0])


# --- waves and norms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exact", "lost", "expected"), [(0.2, 0, 1), (0.2, 1, 1), (1.5, 0, 1.5), (1.5, 1, 2), (1.5, 0.5, 1.75), (3, 1, 3)])  # fmt: skip
def test_a_partly_filled_wave_is_lost_in_part(exact, lost, expected):
    assert waves(np.float64(exact), lost) == pytest.approx(expected)


def test_times_overlap_between_their_sum_and_their_maximum():
    assert norm(1, 3.0, 4.0) == pytest.approx(7)
    assert norm(2, 3.0, 4.0) == pytest.approx(5)
    assert norm(1000, 3.0, 4.0) == pytest.approx(4, rel=1e-6)
    assert norm(1000, 3e-6, 4e-6) == pytest.approx(4e-6), "tiny times do not underflow"


# --- matrix products ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 64, 4096])
def test_without_losses_it_is_a_roofline(m):
    kernel = replace(FC, m=m)
    expected = 2e-6 + max(kernel.flop / 80e12, moved(kernel) / 0.5e12)
    assert gpus().price(kernel).time_s == pytest.approx(expected, rel=1e-3)


def test_a_tile_is_computed_whole_however_few_rows_it_has():
    tiled = library(tiles=[[64, 64]])
    one, full, more = linear_times(FAST_MEMORY, tiled, [1, 64, 65], [4096] * 3, [64_000] * 3) - 2e-6
    assert one == pytest.approx(full)
    assert more == pytest.approx(2 * full)


def test_waves_of_tiles_are_over_all_multiprocessors():
    """100 multiprocessors, compute-bound: 100 tiles take as long as one, 101 as 200."""
    tiled = library(tiles=[[64, 64]], wave_ratio=1, bandwidth_ratio=1.0)
    one, full, spilled, twice = (
        linear_times(FAST_MEMORY, tiled, [64] * 4, [65536] * 4, [64, 6400, 6401, 12800]) - 2e-6
    )
    assert full == pytest.approx(2 * 64 * 6400 * 65536 / 80e12, rel=1e-3)
    assert one == pytest.approx(full, rel=1e-3)
    assert spilled == pytest.approx(twice, rel=1e-3)
    assert twice == pytest.approx(2 * full, rel=1e-3)


def test_inputs_are_split_where_tiles_are_few_and_that_costs_a_launch():
    whole = library(tiles=[[64, 64]], wave_ratio=1)
    split = whole.model_copy(update={"splits": [1, 4], "split_fixed_s": 1e-6, "selection_exponent": 1e4})
    m, k, n = [64], [65536], [640]
    assert linear_times(PART, split, m, k, n)[0] < linear_times(PART, whole, m, k, n)[0] / 2
    dear = split.model_copy(update={"split_fixed_s": 1.0})
    assert linear_times(PART, dear, m, k, n)[0] == pytest.approx(linear_times(PART, whole, m, k, n)[0], rel=1e-3)


def test_rows_that_are_not_aligned_run_without_wide_loads():
    narrow = library(aligned_bytes=16, unaligned_tensor_ratio=0.01)
    aligned, odd = linear_times(PART, narrow, [256, 256], [4096, 4096], [4096, 4097])
    assert odd > 20 * aligned


def test_a_heuristic_that_misses_its_fastest_tile_is_slower_and_never_faster_than_the_fastest():
    sure = library(tiles=[[64, 64], [256, 256]], selection_exponent=1e4)
    unsure = sure.model_copy(update={"selection_exponent": 4})
    assert linear_times(PART, unsure, [65], [8192], [8192])[0] > linear_times(PART, sure, [65], [8192], [8192])[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 512), st.integers(1, 16384), st.integers(1, 16384))
def test_no_matrix_product_beats_the_peaks(m, k, n):
    generous = library(tiles=[[64, 64], [128, 128]], splits=[1, 2, 4], bandwidth_ratio=1.0, tensor_ratio=1.0)
    time_s = linear_times(PART, generous, [m], [k], [n])[0] - generous.launch_s
    assert time_s >= roofline_times(PART, [m], [k], [n])[0] * (1 - 1e-12)


# --- attention ---------------------------------------------------------------------------------------------------


def test_decoding_reads_the_caches_once_at_the_achieved_bandwidth():
    expected = 2e-6 + (DECODE.kv_bytes + 2 * DECODE.query_bytes) / 0.5e12
    assert gpus().price(DECODE).time_s == pytest.approx(expected, rel=1e-3)


def test_unpacked_groups_read_their_cache_once_for_every_query_head():
    on_chip = {"on_chip_bytes_per_s": 1e10, "query_tile": 1}
    packed, unpacked = attention_library(**on_chip), attention_library(**on_chip, packing="never")
    heads = {"requests": 100, "heads": 32, "kv_heads": 8}
    packed = packed.model_copy(update={"query_tile": 64})
    unpacked = unpacked.model_copy(update={"query_tile": 64})
    assert decode(unpacked, **heads) == pytest.approx(4 * decode(packed, **heads), rel=1e-3)


def test_a_library_that_packs_single_tokens_alone_is_slow_when_speculating():
    torch = attention_library(packing="single_token", on_chip_bytes_per_s=1e11)
    single, several = decode(torch, requests=64), decode(torch, requests=64, queries=2)
    assert several > 3 * single
    always = attention_library(packing="always", on_chip_bytes_per_s=1e11)
    assert decode(always, requests=64, queries=2) < 1.1 * decode(always, requests=64)


def test_a_long_cache_of_few_requests_is_split_over_the_multiprocessors():
    alone = attention_library(lone_bytes_per_s=10e9)
    split = attention_library(lone_bytes_per_s=10e9, splits="always", split_fixed_s=1e-6)
    long_cache = {"requests": 1, "kv": 65536}
    assert decode(split, **long_cache) < decode(alone, **long_cache) / 5
    assert decode(split, requests=1, kv=100) == pytest.approx(decode(alone, requests=1, kv=100)), "one block"


def test_ungrouped_caches_are_split_only_where_the_library_does_so():
    grouped_only = attention_library(lone_bytes_per_s=10e9, splits="always")
    always = grouped_only.model_copy(update={"splits_ungrouped": True})
    heads = {"requests": 1, "kv": 65536, "heads": 8, "kv_heads": 8}
    assert decode(always, **heads) < decode(grouped_only, **heads) / 5


def test_repacking_is_paid_where_queries_do_not_lie_as_a_tile_needs_them():
    repacking = attention_library(repack_s=1e-3)
    assert decode(repacking, requests=2) > 1e-3
    assert decode(repacking, requests=1) < 1e-3
    assert decode(repacking, requests=2, heads=8) < 1e-3, "no groups"
    assert decode(repacking, requests=2, kv_heads=1) < 1e-3


def test_a_block_of_keys_that_is_not_full_is_read_whole_from_chip():
    library = attention_library(on_chip_bytes_per_s=1e10)
    assert decode(library, kv=1025) == pytest.approx(decode(library, kv=1152), rel=1e-3)


def test_prompts_skip_what_the_mask_hides():
    """16 row tiles of 128 see 2, 4, … 32 key tiles of 64: 272 of the 512 of the square."""
    shapes = AttentionShapes.table(100, 2048, 2048, 2048, 25, 25, 128, 2)
    time_s = float(prefill_times(PART, attention_library(), shapes)[0]) - 2e-6
    square = 4 * 100 * 25 * 2048 * 2048 * 128 / 50e12
    assert time_s == pytest.approx(square * 272 / 512, rel=0.01)


def test_a_chunk_of_a_prompt_attends_to_what_is_cached_before_it():
    """The second half of a prompt: 8 row tiles of 128 see 18, 20, … 32 key tiles of 64."""
    shapes = AttentionShapes.table(100, 1024, 2048, 2048, 25, 25, 128, 2)
    time_s = float(prefill_times(PART, attention_library(), shapes)[0]) - 2e-6
    tile_s = 4 * 128 * 128 * 64 / (50e12 / PART.multiprocessors)
    assert time_s == pytest.approx(100 * 25 * 200 * tile_s / PART.multiprocessors, rel=0.01)


def chunk_s(queries, *, heads=5, kv=65536, **changes):
    """Seconds of the last query tokens of one long prompt; combining costs 10 us and moves 1 TB/s."""
    combining = {"split_fixed_s": 10e-6, "split_bytes_per_s": 1e12}
    library = attention_library(prefill=PART.attention.used.prefill.model_copy(update=changes), **combining)
    shapes = AttentionShapes.table(1, queries, kv, kv, heads, heads, 128, 2)
    return float(prefill_times(PART, library, shapes)[0]) - PREFILL["launch_s"]


def test_few_rows_leave_multiprocessors_idle_unless_the_library_splits_their_keys():
    """Four row tiles of five heads are 20 tiles for 100 multiprocessors; five splits fill them."""
    whole_s, split_s = chunk_s(512), chunk_s(512, splits="always")
    combining_s = 10e-6 + 2 * 5 * 5 * 512 * 128 * 4 / 1e12
    assert split_s == pytest.approx(whole_s / 5 + combining_s, rel=0.03)


def test_keys_are_not_split_where_rows_fill_the_multiprocessors():
    assert chunk_s(2560, heads=50, splits="always") == chunk_s(2560, heads=50), "ten waves of tiles"


@pytest.mark.parametrize("queries", [128, 512, 777, 4096])
@pytest.mark.parametrize("heads", [1, 5, 13])
def test_splitting_keys_never_costs_and_never_beats_the_tensor_cores(queries, heads):
    split_s = chunk_s(queries, heads=heads, splits="always")
    pairs = queries * (65536 - queries) + queries * (queries + 1) / 2
    assert 4 * heads * 128 * pairs / (PREFILL["tensor_ratio"] * PART.peak_flop_per_s) <= split_s
    assert split_s <= chunk_s(queries, heads=heads)


@pytest.mark.parametrize("chunk", [128, 512, 1024])
def test_a_prompt_in_chunks_computes_what_it_does_at_once_and_takes_no_less(chunk):
    prompt = lower_chunks([(0, 4096)])
    parts = [lower_chunks([(start, chunk)]) for start in range(0, 4096, chunk)]
    assert sum(part.flop for part in parts) == prompt.flop
    assert sum(gpus().price(part).time_s for part in parts) > gpus().price(prompt).time_s


def lower_chunks(chunks):
    lengths = chunk_lengths(chunks)
    return Attention(
        lengths.n_requests, lengths.query_tokens, lengths.kv_tokens, lengths.longest_kv, lengths.pairs, 8, 8, 128,
        causal=True,
    )  # fmt: skip


def test_prompts_are_told_from_decoding_by_what_they_are_and_not_by_their_pairs():
    prompt = Attention(1, 2048, 2048, 2048, 2048 * 2049 // 2, 8, 8, 128, causal=True)
    rectangle = replace(prompt, pairs=2048 * 2048, causal=False)
    assert gpus().price(prompt).time_s != gpus().price(rectangle).time_s


def test_a_long_draft_on_a_short_cache_is_verified_as_one_on_a_long_cache_is():
    """Sums of pairs differ, which does not make a prompt of either."""
    cached = np.array([16384, 16500])
    short, long = (ragged_lengths(cached, np.array(rows)) for rows in ([4, 1], [1, 4]))
    times = [
        gpus().price(Attention(2, 5, lengths.kv_tokens, lengths.longest_kv, lengths.pairs, 8, 8, 128)).time_s
        for lengths in (short, long)
    ]
    assert times[0] == pytest.approx(times[1], rel=1e-3)


def test_the_longest_cache_holds_up_its_batch():
    library = attention_library(lone_bytes_per_s=1e9)
    even = AttentionShapes.table(4, 1, 1000, 1000, 8, 8, 128, 2)
    uneven = AttentionShapes.table(4, 1, 1000, 3000, 8, 8, 128, 2)
    assert decode_times(PART, library, uneven)[0] > 2 * decode_times(PART, library, even)[0]


# --- small kernels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "seconds"), [(1e6, 1e-6 + 0.2e-6), (3e6, 1e-6 + 0.6e-6 + 2e6 / 0.5e12)])
def test_small_kernels_stream_from_cache_and_the_rest_from_dram(size, seconds):
    kernel = Elementwise(KernelClass.NORMALISATION, 0, int(size), 0)
    assert gpus().price(kernel).time_s == pytest.approx(seconds)


def test_single_operations_have_a_launch_each_at_the_rate_of_their_class():
    kernel = Elementwise(KernelClass.ROTARY, 0, 400_000, 600_000)
    assert gpus().price_unfused(kernel, 10, rows=8).time_s == pytest.approx(10 * 3e-6 + 1e6 / 1e12)
    unknown = replace(kernel, kernel_class=KernelClass.OTHER)
    assert gpus().price_unfused(unknown, 10, rows=8).time_s == pytest.approx(10 * 1e-6 + 1e6 / 5e12)


def test_an_append_is_split_evenly():
    assert gpus(6).price(KvAppend(600_000)).time_s == gpus().price(KvAppend(100_000)).time_s


@pytest.mark.parametrize("kernel_class", [KernelClass.ACTIVATION, KernelClass.ROTARY])
def test_work_on_a_split_tensor_is_split(kernel_class):
    kernel = Elementwise(kernel_class, 0, 6 << 20, 0)
    assert gpus(6).price(kernel).time_s == gpus().price(replace(kernel, read_bytes=1 << 20)).time_s


@pytest.mark.parametrize("kernel_class", [KernelClass.NORMALISATION, KernelClass.RESIDUAL, KernelClass.EMBEDDING])
def test_work_on_a_whole_tensor_is_repeated_on_every_rank(kernel_class):
    kernel = Elementwise(kernel_class, 1 << 20, 1 << 24, 1 << 24)
    one, six = gpus(1).price(kernel), gpus(6).price(kernel)
    assert six.time_s == one.time_s
    assert six.energy.total_j == pytest.approx(6 * one.energy.total_j)


# --- several GPUs, bounds, energy --------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "columns"), [(1, 12288), (6, 2048), (5, 2458), (7, 1756)])
def test_fc_is_split_by_columns_and_the_largest_shard_sets_the_time(count, columns):
    assert gpus(count).price(FC).time_s == gpus().price(replace(FC, n=columns)).time_s


def test_fc_whose_input_is_split_already_is_split_by_rows_of_the_weight():
    kernel = replace(FC, role=FcRole.FEED_FORWARD_DOWN)
    assert gpus(6).price(kernel).time_s == gpus().price(replace(kernel, k=683)).time_s


def test_a_shard_is_padded_so_that_its_rows_stay_aligned():
    kernels = PART.linear.model_copy(update={"libraries": {"ideal": library(aligned_bytes=16)}})
    assert gpus(7, linear=kernels).price(FC).time_s == gpus().price(replace(FC, n=1760)).time_s


@pytest.mark.parametrize(("count", "heads"), [(1, 8), (2, 4), (3, 3), (6, 2), (8, 1)])
def test_attention_is_split_by_heads_of_the_cache(count, heads):
    shard = replace(DECODE, n_heads=4 * heads, n_kv_heads=heads)
    assert gpus(count).price(DECODE).time_s == pytest.approx(gpus().price(shard).time_s)


def test_a_gemv_is_bound_by_memory_a_large_gemm_by_compute_and_a_tiny_kernel_by_its_launch():
    assert gpus().price(replace(FC, m=1)).bound == "memory"
    assert gpus().price(replace(FC, m=1024)).bound == "compute"
    assert gpus().price(Linear(FcRole.ROUTER, 1, 64, 8)).bound == "fixed"


@pytest.mark.parametrize("kernel", [FC, DECODE, KvAppend(1 << 20)])
def test_energy_by_access_is_bytes_and_flop_times_their_price(kernel):
    energy = gpus().price(kernel).energy
    assert energy.dram_activation_j == pytest.approx(1e-12 * moved(kernel))
    assert energy.dram_access_j == pytest.approx(2e-12 * moved(kernel))
    assert energy.dram_transfer_j == pytest.approx(3e-12 * moved(kernel))
    assert energy.gpu_memory_j == pytest.approx(4e-12 * moved(kernel))
    assert energy.gpu_compute_j == pytest.approx(5e-12 * kernel.flop)


def test_fitted_energy_is_bytes_flop_and_time_and_no_more_than_the_board_draws():
    fitted = FittedEnergy(active_w=50, dram_j_per_byte=100e-12, compute_j_per_flop=1e-12)
    pool = gpus(energy_model="fitted", fitted_energy=fitted)
    cost = pool.price(FC)
    assert cost.energy.total_j == pytest.approx(50 * cost.time_s + 100e-12 * moved(FC) + 1e-12 * FC.flop)
    glutton = gpus(energy_model="fitted", fitted_energy=fitted.model_copy(update={"active_w": 1e6}))
    assert glutton.price(FC).energy.total_j == pytest.approx((400 - 50) * cost.time_s)


@pytest.mark.parametrize(
    ("size", "seconds"), [(1e6, 2e-6 + 1e6 / 5e12), (20e6, 2e-6 + 20e6 / 5e12), (1e9, 2e-6 + 990e6 / 3e12)]
)
def test_an_engines_small_kernels_stream_what_is_not_in_cache_while_they_compute(size, seconds):
    """``launch + max(bytes / on-chip rate, (bytes − cache) / bandwidth)``, the kernel bound on chip below 25 MB."""
    part = load_part("h200").part.model_copy(update={"memory_bandwidth_bytes_per_s": 4e12})
    kernels = FusedStreaming(
        launch_s=2e-6, on_chip_bytes_per_s=5e12, cache_bytes=10e6, bandwidth_ratio=0.75, on_chip_j_per_byte=None
    )
    assert streaming_s(part, part.elementwise, kernels, size) == pytest.approx(seconds, rel=1e-12)


def test_classes_that_an_engine_does_not_have_are_as_any_fused_kernel():
    elementwise = load_part("h200").part.elementwise
    engines = elementwise.libraries["vllm"].classes
    assert elementwise.fused_for(KernelClass.ROTARY) == engines[KernelClass.ROTARY]
    assert elementwise.fused_for(KernelClass.EMBEDDING) == elementwise.fused
    without = elementwise.model_copy(update={"use": None})
    assert without.fused_for(KernelClass.ROTARY) == elementwise.fused


def test_streaming_kernels_take_energy_from_cache_and_beyond_it_from_dram():
    part = load_part("h200").part
    fitted = part.fitted_energy
    streaming = Streaming(launch_s=1e-6, on_chip_bytes_per_s=5e12, on_chip_j_per_byte=50e-12)
    cache = part.elementwise.cache_bytes
    small = streaming_energy(part, streaming, 1e6, cache / 2, 1e-4)
    assert small.total_j == pytest.approx(fitted.active_w * 1e-4 + 50e-12 * cache / 2)
    assert small.dram_access_j == 0
    large = streaming_energy(part, streaming, 1e6, 3 * cache, 1e-3, n_kernels=2)
    assert large.dram_access_j == pytest.approx(fitted.dram_j_per_byte * cache)
    limited = streaming_energy(part, streaming, 0.0, 3 * cache, 1e-9)
    assert limited.total_j == pytest.approx((part.board_w - part.static_w) * 1e-9)


def test_a_class_whose_energy_was_not_measured_is_charged_as_any_kernel():
    part = load_part("h200").part
    streaming = Streaming(launch_s=1e-6, on_chip_bytes_per_s=5e12)
    assert streaming_energy(part, streaming, 1e6, 1e6, 1e-5) == kernel_energy(part, 1e6, 1e6, 1e-5)


def test_a_part_refuses_what_it_names_and_does_not_have():
    for change, said in (
        ({"energy_model": "fitted"}, "without 'fitted_energy'"),
        ({"mode": "table"}, "without 'tables'"),
        ({"linear": {"use": "cublass", "libraries": {"cublas": LINEAR}}}, "did you mean 'cublas'"),
    ):
        with pytest.raises(ValueError, match=said):
            Part.model_validate(PART.model_dump() | change)


def test_shapes_outside_the_fit_are_flagged():
    assert gpus().outside(FC) is None
    assert gpus().outside(replace(FC, m=2000)) == "m above 1024"
    assert gpus().outside(replace(DECODE, head_dim=64)) == "head_dim below 128"
    assert gpus().outside(KvAppend(1)) is None


def test_capacity_and_idle_power_are_those_of_all_gpus():
    assert gpus(6).capacity_bytes == 480e9
    assert gpus(6).static_w == 300


# --- measured tables ---------------------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "linear.csv").write_text(
        "m,k,n,dtype,time_s,energy_j,library\n1,8,16,float16,1e-6,,x\n4,8,16,float16,4e-6,,x\n"
    )
    rows = [f"{batch},8,8,128,1,{kv},{batch * kv * 1e-9},,x,0" for batch in (1, 4) for kv in (100, 400)]
    header = "batch,n_heads,n_kv_heads,head_dim,tlp,kv,time_s,energy_j,library,packed_gqa\n"
    (tmp_path / "attention.csv").write_text(header + "\n".join(rows) + "\n")
    (tmp_path / "elementwise.csv").write_text(
        "op,rows,width,read_bytes,write_bytes,time_s,energy_j\n"
        "residual_add,1,8,1000,500,1e-6,\nresidual_add,1,16,2000,1000,2e-6,\nresidual_add,4,8,4000,2000,4e-6,\n"
    )
    return gpus(mode="table", tables=str(tmp_path))


def test_measured_times_are_interpolated_and_not_extrapolated(tables):
    between = Linear(FcRole.QKV, 2, 8, 16)
    assert tables.price(between).time_s == pytest.approx(2e-6)
    assert tables.measured(between)
    for outside in (replace(between, m=5), replace(between, n=24)):
        assert tables.price(outside).time_s == gpus().price(outside).time_s
        assert not tables.measured(outside)


def test_measured_attention_is_interpolated_over_requests_and_cache(tables):
    kernel = Attention(2, 2, 400, 200, 400, 8, 8, 128)
    assert tables.price(kernel).time_s == pytest.approx(2 * 200 * 1e-9)
    assert tables.measured(kernel)
    assert not tables.measured(replace(kernel, query_tokens=4, pairs=800)), "no such TLP"


def test_measured_operations_are_interpolated_over_rows_and_bytes(tables):
    kernel = Elementwise(KernelClass.RESIDUAL, 0, 1000, 500)
    assert tables.price_unfused(kernel, 1, rows=1).time_s == pytest.approx(1e-6)
    assert tables.price_unfused(kernel, 2, rows=1).time_s != pytest.approx(1e-6)
    assert tables.price_unfused(
        replace(kernel, read_bytes=2000, write_bytes=1000), 1, rows=2
    ).time_s == pytest.approx(2e-6)


def test_a_pool_with_another_library_does_not_remember_the_old_one():
    libraries = {"ideal": library(), "slow": library(launch_s=1.0), "tiny": library(tile_fixed_s=1.0)}
    one = gpus(linear=PART.linear.model_copy(update={"libraries": libraries}))
    before = one.price(FC).time_s
    assert one.with_library("slow").price(FC).time_s > 1 > before
    assert one.with_library("tiny").price(FC).time_s == with_linear(tile_fixed_s=1.0).price(FC).time_s > 1
    assert one.price(FC).time_s == before


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6000))
def test_token_rows_priced_together_with_their_neighbours_cost_what_each_costs(m):
    one = with_linear(tiles=[[64, 64], [128, 256]], splits=[1, 4], wave_ratio=0.5, overlap_exponent=3)
    expected = linear_times(one.part, one.part.linear.used, [m], [4096], [12288])[0]
    assert one.price(replace(FC, m=m)).time_s == pytest.approx(expected, rel=1e-12)


# --- places that only a closed form notices ------------------------------------------------------------------------


def test_a_kernel_is_compute_bound_by_the_rates_that_the_library_reaches_not_by_the_peaks():
    """The ridge of the peaks is at 100 FLOP per byte, that of 80 % of the tensor cores and half the bandwidth at 160."""
    bounds = [gpus().price(Linear(FcRole.QKV, m, 1 << 14, 1 << 14)).bound for m in (150, 180)]
    assert bounds == ["memory", "compute"], "147 and 176 FLOP per byte"


def test_each_row_of_tiles_but_the_first_reads_its_share_of_the_weights_again():
    rereading = with_linear(tiles=[[16, 16]], reread_ratio=0.5)
    for m, reads in ((16, 1.0), (32, 1.5), (48, 2.0)):
        moved_bytes = 2 * (reads * 4096 * 4096 + 2 * m * 4096)
        time_s = rereading.price(Linear(FcRole.QKV, m, 4096, 4096)).time_s
        assert time_s == pytest.approx(2e-6 + moved_bytes / 0.5e12, rel=1e-3), m


def test_a_tile_of_attention_loads_its_blocks_of_keys_and_values_its_queries_and_its_results():
    """One head of 100 requests on 100 multiprocessors: eight blocks of 128 keys, and 64 rows of queries, in and out."""
    on_chip = attention_library(on_chip_bytes_per_s=1e10)
    time_s = decode(on_chip, requests=100, heads=1, kv_heads=1)
    tile_bytes = 2 * (8 * 2 * 128 * 128) + 2 * (2 * 64 * 128)
    assert time_s == pytest.approx(2e-6 + 100 * tile_bytes / 1e10, rel=1e-6)
