"""A kernel over many caches has the sizes that each kernel has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.ops.caches import AttentionOverCaches, tokens_per_request
from papisim.ops.formats import Packed
from papisim.ops.kernel import Attention

packings = st.none() | st.builds(Packed, st.sampled_from([4, 8]), st.integers(1, 64), st.integers(0, 32))


@st.composite
def decoding(draw):
    requests, tlp, kv_heads = draw(st.integers(1, 20)), draw(st.integers(1, 8)), draw(st.integers(1, 4))
    tokens = draw(st.integers(requests * tlp, 10_000))
    heads = kv_heads * draw(st.integers(1, 4))
    return Attention(requests, requests * tlp, tokens, tokens, tokens * tlp, heads, kv_heads, 16, kv=draw(packings))


@given(decoding(), st.lists(st.integers(1, 100_000), min_size=1, max_size=8))
def test_sizes_over_caches_are_those_of_each_kernel(kernel, lengths):
    kv_tokens = np.array(lengths)
    caches = AttentionOverCaches(kernel, kv_tokens, kv_tokens // 2 + 1)
    single = list(caches)
    assert [one.kv_tokens for one in single] == lengths
    assert [one.longest_kv for one in single] == [tokens // 2 + 1 for tokens in lengths]
    assert caches.pairs.tolist() == [one.pairs for one in single]
    assert caches.flop.tolist() == [one.flop for one in single]
    assert caches.moved_bytes.tolist() == [one.read_bytes + one.write_bytes for one in single]
    assert {(one.query_tokens, one.n_requests, one.kv) for one in single} == {
        (kernel.query_tokens, kernel.n_requests, kernel.kv)
    }


def test_caches_grow_by_the_query_tokens_of_their_request():
    kernel = Attention(3, 6, 30, 12, 60, 1, 1, 1)
    grown = AttentionOverCaches.growing(kernel, 4)
    assert grown.kv_tokens.tolist() == [30, 36, 42, 48]
    assert grown.longest_kv.tolist() == [12, 14, 16, 18]


def test_tokens_per_request_are_those_of_each():
    assert tokens_per_request(Attention(3, 6, 30, 12, 60, 1, 1, 1)) == 2


@pytest.mark.parametrize(("query_tokens", "pairs"), [(7, 70), (6, 59)])
def test_requests_with_different_query_tokens_are_refused(query_tokens, pairs):
    """Seven query tokens of three requests, or causal ones, which do not attend to the whole cache."""
    kernel = Attention(3, query_tokens, 30, 12, pairs, 1, 1, 1)
    for attempt in (
        lambda: AttentionOverCaches(kernel, np.array([30]), np.array([12])),
        lambda: AttentionOverCaches.growing(kernel, 2),
    ):
        with pytest.raises(ValueError, match="as many query tokens in each request"):
            attempt()
