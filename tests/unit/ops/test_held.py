"""Bytes that requests hold: brute force over kinds of caches, and conservation over a request's life."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.ops.held import HeldBytes, Keeping

limits = st.one_of(st.none(), st.integers(1, 50))
helds = st.builds(
    lambda caches, state: HeldBytes(tuple(Keeping(*cache) for cache in caches.items()), state),
    st.dictionaries(limits, st.integers(1, 4).map(lambda n: 8 * n), min_size=1, max_size=3),
    st.integers(0, 1000),
)
lengths = st.lists(st.integers(0, 120), min_size=1, max_size=6)


@given(helds, st.integers(1, 120))
def test_a_request_holds_its_states_and_the_tokens_that_each_cache_keeps(held, tokens):
    expected = held.state_bytes + sum(
        token_bytes * min(tokens, limit or tokens) for limit, token_bytes in held.caches
    )
    assert held.of_request(tokens) == expected
    assert held.of_request(0) == 0


@given(helds, lengths, st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_requests_that_grow_hold_what_each_of_them_holds(held, each, grown):
    array = np.array(each) + 1
    expected = [sum(held.of_request(tokens + more) for tokens in array.tolist()) for more in grown]
    assert held.of_growing(array, np.array(grown)).tolist() == expected
    assert held.of_requests(array) == sum(held.of_request(tokens) for tokens in array.tolist())


@given(st.integers(1, 8), st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_what_is_appended_over_a_life_is_held_at_its_end_by_full_caches_alone(token_bytes, appended):
    full = HeldBytes((Keeping(None, token_bytes),))
    assert full.of_request(sum(appended)) == full.token_bytes * sum(appended)
    window = HeldBytes((Keeping(10, token_bytes),))
    assert window.of_request(sum(appended)) == min(full.of_request(sum(appended)), 10 * token_bytes)


@given(helds, st.integers(0, 200), st.integers(0, 200), st.sampled_from([1, 16]))
def test_pages_hold_the_bytes_and_grow_by_no_more_than_pages_of_what_is_added(held, tokens, more, page):
    pages = held.pages(tokens, page)
    assert pages * page * held.unit_bytes >= held.of_request(tokens)
    assert 0 <= held.pages(tokens + more, page) - pages <= held.pages(more, page)
    as_array = held.pages(np.array([tokens, more]), page)
    assert as_array.tolist() == [pages, held.pages(more, page)]


def test_a_model_of_states_alone_counts_room_by_states():
    states = HeldBytes((), 1 << 20)
    assert (states.token_bytes, states.rate_bytes, states.unit_bytes) == (0, 1 << 20, 1)
    room = [states.pages(tokens, 16) * 16 * states.unit_bytes for tokens in (0, 1, 10**6)]
    assert room == [0, 1 << 20, 1 << 20], "a state, not a page of sixteen"


def test_caches_of_one_kind_are_counted_by_pages_of_tokens():
    full = HeldBytes((Keeping(None, 131072),))
    assert full.grows_alike
    assert full.pages(17, 16) == 2
    mixed = HeldBytes((Keeping(None, 2048), Keeping(32, 6144)))
    assert mixed.unit_bytes == 2048
    assert mixed.pages(100, 16) == 7 * 1 + 2 * 3, (
        "seven pages of 100 tokens, two of the 32 that are kept, three times as wide"
    )
    assert mixed.pages(16, 16) == pytest.approx(1 + 3)
