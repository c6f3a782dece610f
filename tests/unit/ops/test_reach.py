"""What a query sees, against masks that are written out token by token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.ops.lower import chunk_lengths, decode_lengths, ragged_lengths
from papisim.ops.reach import Reach

BOUNDED = [Reach(sees, tokens) for sees in ("window", "chunk", "selected") for tokens in (1, 3, 8)]
each_reach = pytest.mark.parametrize("reach", [Reach(), *BOUNDED], ids=str)
requests = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)), min_size=1, max_size=6)


def seen(reach: Reach, position: int) -> set[int]:
    """Return the keys that a token sees, the most recent ones where it selects."""
    match reach.sees:
        case "full":
            return set(range(position + 1))
        case "chunk":
            return set(range(position // reach.tokens * reach.tokens, position + 1))
    return set(range(max(0, position + 1 - reach.tokens), position + 1))


def masks(reach: Reach, cached: int, rows: int) -> list[set[int]]:
    return [seen(reach, cached + row) for row in range(rows)]


@each_reach
@given(requests)
def test_prompts_compute_what_is_seen_and_read_its_union(reach, lengths):
    cached, rows = np.array(lengths).T
    keys, pairs = reach.prompted(cached, rows)
    each = [masks(reach, *request) for request in lengths]
    assert pairs.tolist() == [sum(map(len, of_request)) for of_request in each]
    if reach.is_of_each_token:
        assert keys.tolist() == (cached + rows).tolist(), "each token chooses its own, of all there are"
    else:
        assert keys.tolist() == [len(set.union(*of_request)) for of_request in each]


@each_reach
@given(requests)
def test_decoding_computes_the_rectangle_of_new_tokens_and_what_they_see(reach, lengths):
    cached, rows = np.array(lengths).T
    keys, pairs = reach.decoded(cached, rows)
    each = [masks(reach, *request) for request in lengths]
    if reach.is_of_each_token:
        # tokens that are decoded together see the tokens drafted after them masked, and choose among all that are cached
        assert keys.tolist() == pairs.tolist()
        assert keys.tolist() == [count * min(before + count, reach.tokens) for before, count in lengths]
    else:
        assert keys.tolist() == [len(set.union(*of_request)) for of_request in each]
        assert pairs.tolist() == (rows * keys).tolist()


@each_reach
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 4), st.integers(1, 30))
def test_growing_caches_are_summed_as_their_iterations_are_one_by_one(reach, cached, tlp, n):
    lengths = np.array(cached)
    sums, longest = reach.growing(lengths, tlp, n)
    for step in range(n):
        one = ragged_lengths(lengths + tlp * step, np.full(len(cached), tlp)).within(reach)
        assert (sums[step], longest[step]) == (one.kv_tokens, one.longest_kv)


@each_reach
@given(st.integers(1, 60), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_chunks_of_a_prompt_compute_the_pairs_of_the_whole_prompt(reach, first, more):
    ends = np.cumsum([first, *more]).tolist()
    parts = [
        chunk_lengths([(end - tokens, tokens)]).within(reach)
        for end, tokens in zip(ends, [first, *more], strict=True)
    ]
    whole = chunk_lengths([(0, ends[-1])]).within(reach)
    assert sum(part.pairs for part in parts) == whole.pairs
    assert all(part.pairs + part.unseen_pairs >= part.pairs for part in parts)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 100), st.integers(1, 50))
def test_a_window_longer_than_every_cache_is_full(rlp, tlp, cached, spare):
    lengths = decode_lengths(rlp, tlp, rlp * cached, cached)
    for sees in ("window", "selected"):
        wide = lengths.within(Reach(sees, cached + tlp + spare))
        assert (wide.pairs, wide.query_tokens) == (lengths.pairs, lengths.query_tokens)
        if sees == "window":
            assert wide == lengths


def test_a_reach_knows_the_most_tokens_that_are_kept():
    assert [Reach(sees, 7).kept for sees in ("window", "chunk", "selected")] == [7, 7, None]
    assert Reach().kept is None
    assert str(Reach("window", 4096)) == "window 4096"


def test_requests_whose_lengths_are_not_known_are_not_guessed():
    """9 + 1 tokens read 4 + 1 within a window of 4, 5 + 5 tokens 4 + 4."""
    window = Reach("window", 4)
    assert decode_lengths(2, 1, 8, 8, np.array([8, 0])).within(window).kv_tokens == 4 + 1
    assert decode_lengths(2, 1, 8, 4).within(window).kv_tokens == 4 + 4
    with pytest.raises(ValueError, match="expected the length of each cache"):
        decode_lengths(2, 1, 8, 8).within(window)


def test_the_part_of_a_batch_reads_its_share_of_what_the_batch_reads():
    lengths = ragged_lengths(np.array([100, 3, 50, 7]), np.ones(4, dtype=np.int64))
    window = Reach("window", 10)
    assert lengths.within(window).kv_tokens == 10 + 4 + 10 + 8
    part = lengths.microbatch(2)
    assert part.within(window).kv_tokens == 16
    sums, _ = part.growing(window, 3)
    assert sums.tolist() == [16, 17, 18]
