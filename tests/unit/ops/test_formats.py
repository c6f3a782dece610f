"""Bytes of what is stored in few bits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.ops.formats import AS_TRACED, Formats, Packed
from papisim.ops.kernel import PACKABLE, Attention, FcRole, Group, KernelClass, KvAppend, Linear
from papisim.ops.lower import (
    decode_lengths,
    kv_bytes_per_token,
    lower,
    lower_append,
    lower_attention,
    weight_bytes,
)
from papisim.ops.trace import read_trace

INT4 = Packed(bits=4, group=128, scale_bits=16)
FP8 = Packed(bits=8, group=128, scale_bits=0)
SHIPPED = {name: read_trace(path) for name, path in catalog.shipped(Shelf.TRACE).items()}
each_trace = pytest.mark.parametrize("trace", SHIPPED.values(), ids=SHIPPED)


def test_a_scale_of_16_bits_for_128_numbers_adds_an_eighth_of_a_bit_to_each():
    assert INT4.n_bytes(1, 128) == 128 / 2 + 2
    assert INT4.n_bytes(3, 256) == 3 * (256 * 4.125 / 8)
    assert INT4.scale_ratio(128) == 0.125 / 4
    assert FP8.n_bytes(3, 100) == 300


def test_rows_that_share_a_scale_divide_its_bits_among_them():
    """Blocks of 128 × 128 weights of eight bits with a scale of 32 bits, as DeepSeek-V3 is published."""
    blocks = Packed(bits=8, group=128, scale_bits=32, rows=128)
    assert blocks.scale_ratio(256) == 32 / (128 * 128 * 8)
    assert blocks.n_bytes(128, 256) == 128 * 256 + 2 * 4


def test_a_group_that_is_not_full_has_a_scale_too():
    assert INT4.n_bytes(1, 129) == 69, "64.5 bytes and two scales, rounded up"
    assert INT4.n_bytes(1, 1) == 3, "half a byte and a scale, rounded up"


@given(st.integers(1, 64), st.integers(1, 512), st.sampled_from([4, 8]), st.integers(1, 256), st.integers(0, 32))
def test_bytes_grow_with_bits_and_with_finer_groups(vectors, length, bits, group, scale_bits):
    packed = Packed(bits, group, scale_bits)
    assert packed.n_bytes(vectors, length) >= vectors * length * bits / 8
    assert Packed(2 * bits, group, scale_bits).n_bytes(vectors, length) > packed.n_bytes(vectors, length) - 1
    assert Packed(bits, max(1, group // 2), scale_bits).n_bytes(vectors, length) >= packed.n_bytes(vectors, length)


def test_weights_in_four_bits_are_read_as_such_and_activations_stay():
    plain = Linear(FcRole.QKV, 16, 4096, 12288)
    packed = Linear(FcRole.QKV, 16, 4096, 12288, weights=INT4)
    assert packed.weight_bytes == plain.weight_bytes * 4.125 / 16
    assert packed.activation_bytes == plain.activation_bytes
    assert packed.flop == plain.flop
    assert packed.arithmetic_intensity > plain.arithmetic_intensity


def test_inputs_in_eight_bits_are_read_as_such_and_outputs_stay():
    plain, narrow = (Linear(FcRole.QKV, 16, 4096, 12288, weights=FP8, input_bits=bits) for bits in (None, 8))
    assert narrow.input_bytes == plain.input_bytes / 2
    assert narrow.write_bytes == plain.write_bytes


def test_a_cache_in_four_bits_has_a_scale_for_each_tokens_head():
    plain = Attention(4, 4, 4000, 1000, 4000, 32, 8, 128)
    packed = Attention(4, 4, 4000, 1000, 4000, 32, 8, 128, kv=INT4)
    assert packed.kv_bytes == plain.kv_bytes * 4.125 / 16
    assert packed.query_bytes == plain.query_bytes


@each_trace
def test_a_trace_stored_as_it_was_captured_lowers_to_the_same_kernels(trace):
    again = trace.stored_as(AS_TRACED)
    for (kernel, _), (other, _) in zip(trace.kernels(), again.kernels(), strict=True):
        if kernel.kernel_class is KernelClass.ATTENTION:
            lengths = decode_lengths(4, 2, 400, 100)
            assert lower_attention(kernel, trace, lengths) == lower_attention(other, again, lengths)
        elif kernel.kernel_class is not KernelClass.KV_APPEND:
            assert lower(kernel, trace, 8, (Group(3, 1),)) == lower(other, again, 8, (Group(3, 1),))
    layer = trace.layer(0)
    assert lower_append(layer, trace, 8) == lower_append(layer, again, 8)
    assert (weight_bytes(again), kv_bytes_per_token(again)) == (weight_bytes(trace), kv_bytes_per_token(trace))


def as_computed(trace):
    """Return a model as if its weights were published in the type that its kernels compute in."""
    return trace.model_copy(update={"model": trace.model.model_copy(update={"packed": None})})


@each_trace
def test_only_the_matrices_of_the_decoder_layers_are_packed(trace):
    """All experts count, which a step launches as they are needed."""
    trace = as_computed(trace)
    packed = trace.stored_as(Formats(weights=FP8))
    in_layers = sum(
        kernel.fc.k * kernel.fc.n * kernel.fc.groups * repeats * (trace.model.n_experts if kernel.per_expert else 1)
        for kernel, repeats in trace.kernels()
        if kernel.fc is not None and kernel.role in PACKABLE
    )
    assert weight_bytes(trace) - weight_bytes(packed) == in_layers
    assert 0.2 < in_layers / trace.model.n_parameters < 1
    for kernel, _ in packed.kernels():
        if kernel.fc is not None:
            lowered = lower(kernel, packed, 2, (Group(1, 1),))
            assert (lowered.weights == FP8) == (kernel.role not in (FcRole.LM_HEAD, FcRole.ROUTER))


@each_trace
def test_the_cache_takes_half_the_bytes_in_eight_bits(trace):
    assert 2 * kv_bytes_per_token(trace.stored_as(Formats(kv=FP8))) == kv_bytes_per_token(trace)
    head = trace.model.head_dim
    if not head:  # states alone
        assert kv_bytes_per_token(trace) == 0
        return
    appended = [(shape, block.repeats) for block in trace.blocks for shape in block.appended]
    # a scale per vector of a token, which is a head's K or V, a latent vector, or a key of an indexer
    vectors = sum(shape.cached_elements // shape.head_dim * n for shape, n in appended)
    expected = (kv_bytes_per_token(trace) // 2 * 4 + vectors * 16) / 8
    assert kv_bytes_per_token(trace.stored_as(Formats(kv=Packed(4, head, 16)))) == expected


def test_an_append_reads_what_was_computed_and_writes_what_is_stored():
    append = KvAppend(new_bytes=66, computed_bytes=256)
    assert (append.read_bytes, append.write_bytes) == (256, 66)
    assert KvAppend(100).read_bytes == KvAppend(100).write_bytes == 100


def test_formats_are_no_part_of_a_trace_file():
    trace = SHIPPED["llama7b"]
    assert trace.stored_as(Formats(weights=INT4)).model_dump() == trace.model_dump()
    assert trace.formats == AS_TRACED, "the shared trace is untouched"
