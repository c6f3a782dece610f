"""Steps of decoding and of prompts, and the kernels of a trace at their sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.errors import NotModelled
from papisim.ops.formats import Formats, Packed
from papisim.ops.kernel import Attention, Elementwise, FcRole, Group, KernelClass, KvAppend, Linear
from papisim.ops.lower import (
    KvLengths,
    Prompts,
    StepShape,
    chunk_lengths,
    decode_lengths,
    decode_shape,
    kv_bytes_per_token,
    lower,
    lower_append,
    lower_attention,
    prefill_lengths,
    prefill_shape,
    ragged_lengths,
    weight_bytes,
)
from papisim.ops.trace import read_trace

LLAMA, MIXTRAL = (read_trace(catalog.shipped(Shelf.TRACE)[name]) for name in ("llama7b", "mixtral-8x7b"))


def kernel_of(trace, *, role=None, kernel_class=None):
    return next(
        kernel
        for kernel, _ in trace.kernels()
        if (role is None or kernel.role is role) and (kernel_class is None or kernel.kernel_class is kernel_class)
    )


# --- shapes of steps ---------------------------------------------------------------------------------------------


def test_a_decoding_step_computes_logits_of_every_token_row():
    shape = decode_shape(4, 12)
    assert shape == StepShape(rlp=4, rows=12, logit_rows=12, layers=None, prompt_rows=0, drafted_rows=8)
    assert not shape.is_prefill
    assert decode_shape(4, 12, (3, 7)).layers == (3, 7)


def test_a_prefill_computes_logits_of_the_last_token_of_each_prompt():
    shape = prefill_shape([100, 20, 3])
    assert shape == StepShape(rlp=3, rows=123, logit_rows=3, layers=None, prompt_rows=123, prompts=3)
    assert shape.is_prefill


def test_prompts_beside_decoding_add_requests_and_rows_and_logits_of_those_that_end():
    prompts = Prompts(chunk_lengths([(0, 100), (50, 20)]), ending=1)
    assert decode_shape(4, 12).with_prompts(prompts) == StepShape(
        rlp=6, rows=132, logit_rows=13, layers=None, prompt_rows=120, drafted_rows=8, prompts=2
    )
    without_head = StepShape(4, 12, 0, (0, 8))
    assert without_head.with_prompts(prompts) == StepShape(6, 132, 0, (0, 8), 120, prompts=2)
    assert not decode_shape(4, 12).with_prompts(prompts).is_prefill


def test_prompts_alone_are_a_prefill_with_logits_of_those_that_end():
    prompts = Prompts(chunk_lengths([(0, 100), (50, 20)]), ending=1)
    assert prompts.shape == StepShape(rlp=2, rows=120, logit_rows=1, layers=None, prompt_rows=120, prompts=2)
    assert prompts.shape.is_prefill


@given(st.integers(1, 50), st.integers(1, 8), st.integers(1, 9))
def test_the_largest_microbatch_holds_a_share_rounded_up(rlp, tlp, n):
    part = StepShape(rlp, rlp * tlp, rlp * tlp, (1, 2), rlp).microbatch(n)
    assert part.layers == (1, 2)
    assert part.rlp * n >= rlp > (part.rlp - 1) * n
    assert part.rows * n >= rlp * tlp > (part.rows - 1) * n
    assert part.logit_rows == part.rows
    assert part.prompt_rows == part.rlp


# --- lengths of caches -------------------------------------------------------------------------------------------


def test_new_tokens_are_in_the_cache_and_attend_to_all_of_it():
    lengths = decode_lengths(rlp=3, tlp=2, cached_tokens=100, longest_cached=60)
    assert lengths == KvLengths(n_requests=3, query_tokens=6, kv_tokens=106, longest_kv=62, pairs=212)
    assert lengths.prefix_tokens == 100
    assert not lengths.causal


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 8)), min_size=1, max_size=10))
def test_requests_of_different_length_add_up(requests):
    cached, rows = (np.array(column) for column in zip(*requests, strict=True))
    lengths = ragged_lengths(cached, rows)
    assert lengths.n_requests == len(requests)
    assert lengths.query_tokens == sum(new for _, new in requests)
    assert lengths.kv_tokens == sum(old + new for old, new in requests)
    assert lengths.longest_kv == max(old + new for old, new in requests)
    assert lengths.pairs == sum(new * (old + new) for old, new in requests)


@given(st.integers(1, 9), st.lists(st.integers(0, 200), min_size=1, max_size=9))
def test_equal_query_tokens_are_the_ragged_case_of_equal_rows(tlp, cached):
    ragged = ragged_lengths(np.array(cached), np.full(len(cached), tlp))
    assert ragged == decode_lengths(len(cached), tlp, sum(cached), max(cached))


def test_a_prompt_attends_to_itself_causally():
    # token i sees i tokens: 1 + 2 + 3 + 4 pairs
    assert prefill_lengths([4]) == KvLengths(1, 4, 4, 4, pairs=10, causal=True)
    assert prefill_lengths([4, 1]).pairs == 11


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=5))
def test_a_chunk_attends_to_its_prefix_and_to_itself_causally(chunks):
    lengths = chunk_lengths(chunks)
    assert lengths.pairs == sum(prefix + token for prefix, count in chunks for token in range(1, count + 1))
    assert lengths.query_tokens == sum(count for _, count in chunks)
    assert lengths.prefix_tokens == sum(prefix for prefix, _ in chunks)
    assert lengths.longest_kv == max(map(sum, chunks))
    assert (lengths.n_requests, lengths.causal) == (len(chunks), True)


@given(st.integers(1, 30), st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_chunks_of_a_prompt_have_the_pairs_of_the_whole_prompt(first, rest):
    sizes, chunks, cached = [first, *rest], [], 0
    for size in sizes:
        chunks.append((cached, size))
        cached += size
    assert chunk_lengths(chunks).pairs == prefill_lengths([cached]).pairs


@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 5_000), st.integers(1, 8))
def test_a_microbatch_of_decoding_keeps_its_query_tokens_and_a_share_of_the_caches(rlp, tlp, cached, n):
    whole = decode_lengths(rlp, tlp, cached, cached)
    part = whole.microbatch(n)
    assert part.n_requests == -(-rlp // n)
    assert part.query_tokens == tlp * part.n_requests
    assert part.pairs == tlp * part.kv_tokens
    assert part.kv_tokens - 1 < whole.kv_tokens * part.n_requests / rlp <= part.kv_tokens
    assert part.longest_kv == whole.longest_kv


def test_a_microbatch_of_prompts_takes_a_share_of_tokens_and_pairs():
    part = chunk_lengths([(0, 5), (10, 5), (0, 4)]).microbatch(2)
    assert part == KvLengths(2, 7, 12, 15, pairs=-(-(15 + 65 + 10) // 2), causal=True)


def test_ragged_requests_are_dealt_out_by_their_sums_even_if_their_pairs_look_equal():
    """Caches of 20 and 10 with 1 and 4 query tokens: 60 pairs, as two query tokens of each would have."""
    part = ragged_lengths(np.array([19, 6]), np.array([1, 4])).microbatch(2)
    assert (part.query_tokens, part.kv_tokens, part.pairs) == (3, 15, 30)


# --- kernels -----------------------------------------------------------------------------------------------------


def test_fc_kernels_have_a_row_per_token():
    kernel = lower(kernel_of(LLAMA, role=FcRole.QKV), LLAMA, rows=5)
    assert isinstance(kernel, Linear)
    assert (kernel.role, kernel.m, kernel.k, kernel.element_bytes) == (FcRole.QKV, 5, 4096, 2)
    head = lower(kernel_of(LLAMA, role=FcRole.LM_HEAD), LLAMA, rows=3)
    assert head == Linear(FcRole.LM_HEAD, 3, 4096, 32_000)


def test_experts_have_the_rows_that_the_router_sends_them():
    expert = next(kernel for kernel, _ in MIXTRAL.kernels() if kernel.per_expert and kernel.fc)
    assert lower(expert, MIXTRAL, rows=8, experts=(Group(3, 1),)).m == 3
    assert lower(kernel_of(MIXTRAL, role=FcRole.ROUTER), MIXTRAL, rows=8, experts=(Group(3, 1),)) == Linear(
        FcRole.ROUTER, 8, 4096, 8
    )


def test_elementwise_kernels_stream_their_operands():
    kernel = kernel_of(LLAMA, kernel_class=KernelClass.RESIDUAL)
    assert lower(kernel, LLAMA, rows=3) == Elementwise(
        KernelClass.RESIDUAL, flop=3 * 4096, read_bytes=2 * 3 * 4096 * 2, write_bytes=3 * 4096 * 2
    )


def test_an_append_stores_keys_and_values_of_every_row():
    layer = LLAMA.layer(0)
    assert lower_append(layer, LLAMA, rows=3) == KvAppend(3 * 2 * 4096 * 2, heads=(32, 32))
    packed = LLAMA.stored_as(Formats(kv=Packed(8, 128, 16)))
    assert lower_append(layer, packed, rows=3) == KvAppend(3 * 2 * 32 * (128 + 2), 3 * 2 * 4096 * 2, (32, 32))
    with pytest.raises(ValueError, match="depends on the caches of its layer"):
        lower(kernel_of(LLAMA, kernel_class=KernelClass.KV_APPEND), LLAMA, rows=3)


def test_attention_has_the_heads_of_the_model_and_the_lengths_of_the_batch():
    lengths = KvLengths(3, 6, 106, 62, pairs=212, causal=True)
    kernel = kernel_of(MIXTRAL, kernel_class=KernelClass.ATTENTION)
    cache = Packed(8, 128, 0)
    assert lower_attention(kernel, MIXTRAL.stored_as(Formats(kv=cache)), lengths) == Attention(
        3, 6, 106, 62, 212, n_heads=32, n_kv_heads=8, head_dim=128, element_bytes=2, kv=cache, causal=True
    )
    with pytest.raises(ValueError, match="is no attention kernel"):
        lower_attention(kernel_of(MIXTRAL, role=FcRole.QKV), MIXTRAL, lengths)


def test_a_token_takes_keys_and_values_of_all_layers():
    assert kv_bytes_per_token(LLAMA) == 32 * 2 * 4096 * 2
    assert kv_bytes_per_token(MIXTRAL) == 32 * 2 * 8 * 128 * 2, "8 heads of the cache"
    assert kv_bytes_per_token(LLAMA.stored_as(Formats(kv=Packed(4, 128, 16)))) == 32 * 2 * 32 * (64 + 2)


def test_weights_are_those_of_all_layers_and_experts():
    assert weight_bytes(LLAMA) == 2 * 6_738_415_616
    assert weight_bytes(MIXTRAL) == 2 * 46_702_792_704
    # packed: all matrices of the layers, without embeddings, LM head and norms
    matrices = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    packed = weight_bytes(LLAMA.stored_as(Formats(weights=Packed(8, 4096, 0))))
    assert 2 * 6_738_415_616 - packed == matrices
    experts = 32 * (8 * 3 * 4096 * 14336 + 2 * 4096**2 + 2 * 4096 * 1024)
    packed = weight_bytes(MIXTRAL.stored_as(Formats(weights=Packed(8, 1024, 0))))
    assert 2 * 46_702_792_704 - packed == experts


def test_elements_of_32_bits_are_refused_with_what_to_do():
    trace = read_trace(catalog.find(Shelf.TRACE, "llama-68m").path)
    wide = trace.model_copy(update={"model": trace.model.model_copy(update={"dtype": "float32"})})
    kernel = next(kernel for kernel, _ in wide.kernels() if kernel.fc is not None)
    with pytest.raises(NotModelled, match=r"kernels of float32 \(llama-68m\).*\"torch_dtype\": \"bfloat16\""):
        lower(kernel, wide, 1)
