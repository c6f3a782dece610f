"""Work and traffic of single kernels, written out for small sizes and for the sizes of published models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.ops.formats import Packed
from papisim.ops.kernel import (
    PACKABLE,
    ROW_PARALLEL,
    Attention,
    Elementwise,
    FcRole,
    KernelClass,
    KvAppend,
    Linear,
)

INT4 = Packed(bits=4, group=128, scale_bits=16)
sizes = st.integers(1, 10_000)


def test_a_matrix_product_multiplies_and_adds_once_per_weight_and_token_row():
    # PAPI, Section 2: Llama 65B, QKV of one token: 8192 × 24576 weights
    assert Linear(FcRole.QKV, 1, 8192, 24576).flop == 402_653_184
    assert Linear(FcRole.QKV, 3, 5, 7).flop == 2 * 3 * 5 * 7


def test_a_matrix_product_moves_its_weights_inputs_and_outputs_once():
    kernel = Linear(FcRole.QKV, 3, 5, 7)
    assert kernel.weight_bytes == 70
    assert kernel.input_bytes == 30
    assert kernel.write_bytes == 42
    assert kernel.read_bytes == 100
    assert kernel.activation_bytes == 72
    assert Linear(FcRole.QKV, 3, 5, 7, element_bytes=4).read_bytes == 200


def test_inputs_of_eight_bits_halve_the_bytes_of_the_input_alone():
    kernel = Linear(FcRole.QKV, 3, 5, 7, input_bits=8)
    assert (kernel.input_bytes, kernel.write_bytes, kernel.weight_bytes) == (15, 42, 70)


def test_packed_weights_are_vectors_of_the_inputs_of_one_output():
    # an output of 256 inputs: 128 bytes and two scales of two bytes
    assert Linear(FcRole.QKV, 1, 256, 10, weights=INT4).weight_bytes == 10 * (128 + 4)


def test_arithmetic_intensity_is_operations_over_all_bytes():
    kernel = Linear(FcRole.QKV, 4, 8, 16)
    # PAPI, equation 1: 2·m·k·n over 2·(m·k + k·n + m·n)
    assert kernel.arithmetic_intensity == 4 * 8 * 16 / (4 * 8 + 8 * 16 + 4 * 16)


@given(st.integers(1, 128))
def test_arithmetic_intensity_of_large_matrices_tends_to_the_token_rows(m):
    kernel = Linear(FcRole.QKV, m, 1 << 20, 1 << 20)
    assert kernel.arithmetic_intensity == pytest.approx(m, rel=3e-4)
    assert kernel.arithmetic_intensity < m


def attention(**changes):
    """Two requests of 3 query tokens and 50 cached tokens in all, 4 query heads on 2 heads of the cache, 8 wide."""
    return Attention(
        **{
            "n_requests": 2, "query_tokens": 6, "kv_tokens": 50, "longest_kv": 30, "pairs": 150, "n_heads": 4,
            "n_kv_heads": 2, "head_dim": 8,
        } | changes
    )  # fmt: skip


def test_softmax_takes_five_operations_per_score():
    """AttAcc (ASPLOS 2024) counts a maximum, a subtraction, an exponential, a sum and a division."""
    operations = ("maximum", "subtraction", "exponential", "sum", "division")
    assert len(operations) == Attention.SOFTMAX_FLOP
    one_pair = attention(n_requests=1, query_tokens=1, kv_tokens=1, longest_kv=1, pairs=1, n_heads=1, n_kv_heads=1)
    assert one_pair.flop == 8 * 2 + 8 * 2 + 5, "score, context, softmax"


def test_attention_computes_score_context_and_softmax_for_every_pair_and_query_head():
    assert attention().flop == 150 * 4 * (16 + 16 + 5)
    assert attention().flop_per_pair == 4 * 37
    assert attention(n_kv_heads=4).flop == attention().flop, "grouped queries save traffic and no work"


def test_attention_reads_keys_values_and_queries_and_writes_the_context():
    kernel = attention()
    assert kernel.kv_bytes == 50 * 2 * 2 * 8 * 2, "tokens, K and V, heads, width, bytes"
    assert kernel.query_bytes == 6 * 4 * 8 * 2, "query tokens, query heads, width, bytes"
    assert kernel.read_bytes == kernel.kv_bytes + kernel.query_bytes
    assert kernel.write_bytes == kernel.query_bytes
    assert kernel.bytes_of_tokens(100) == 2 * kernel.kv_bytes


def test_a_packed_cache_holds_a_vector_per_token_and_head():
    kernel = attention(kv=Packed(bits=8, group=8, scale_bits=16))
    assert kernel.kv_bytes == 50 * 2 * 2 * (8 + 2), "eight numbers and one scale"
    assert kernel.query_bytes == attention().query_bytes


def test_the_cache_of_one_token_of_llama_3_70b_takes_four_kilobytes_per_layer():
    one = attention(kv_tokens=1, n_heads=64, n_kv_heads=8, head_dim=128)
    assert one.kv_bytes == 4096


@given(sizes, st.none() | sizes)
def test_an_append_writes_what_is_stored_and_reads_what_was_computed(new_bytes, computed_bytes):
    kernel = KvAppend(new_bytes, computed_bytes)
    assert kernel.write_bytes == new_bytes
    assert kernel.read_bytes == (new_bytes if computed_bytes is None else computed_bytes)
    assert kernel.flop == 0


def test_kernels_know_their_class():
    assert Linear(FcRole.QKV, 1, 1, 1).kernel_class is KernelClass.FC
    assert attention().kernel_class is KernelClass.ATTENTION
    assert KvAppend(1).kernel_class is KernelClass.KV_APPEND
    assert Elementwise(KernelClass.ROTARY, 1, 1, 1).kernel_class is KernelClass.ROTARY


def test_quantisers_leave_the_lm_head_and_routers_as_they_are():
    assert set(FcRole) - PACKABLE == {FcRole.LM_HEAD, FcRole.ROUTER}


def test_matrices_split_by_rows_are_those_whose_outputs_are_summed():
    """Megatron-LM, Section 3: the second matrix of attention and of the feed-forward network."""
    assert {FcRole.PROJECTION, FcRole.FEED_FORWARD_DOWN} == ROW_PARALLEL
