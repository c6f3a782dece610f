import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.engine.batch import Batch
from papisim.engine.request import Request
from papisim.ops.lower import ragged_lengths


def batch_of(*lengths: tuple[int, int]) -> Batch:
    batch = Batch()
    batch.join([Request(i, 0.0, prompt, answer) for i, (prompt, answer) in enumerate(lengths)])
    return batch


def each(batch: Batch, tokens: int) -> np.ndarray:
    return np.full(len(batch), tokens, dtype=np.int64)


def test_a_joined_batch_caches_the_prompts():
    batch = batch_of((10, 5), (20, 7))
    assert batch.cached_tokens == 30
    assert batch.request_ids == (0, 1)
    lengths = ragged_lengths(batch.cached, each(batch, 3))
    assert (lengths.n_requests, lengths.query_tokens, lengths.kv_tokens) == (2, 6, 36)
    assert lengths.longest_kv == 23
    assert lengths.pairs == 3 * 36


def test_ragged_rows_attend_to_their_own_caches():
    batch = batch_of((10, 5), (20, 7))
    lengths = ragged_lengths(batch.cached, np.array([1, 4]))
    assert (lengths.query_tokens, lengths.kv_tokens, lengths.longest_kv) == (5, 11 + 24, 24)
    assert lengths.pairs == 1 * 11 + 4 * 24


def test_who_has_its_first_token_joins_with_one_token_that_is_not_cached():
    row = Request(0, 0.0, 10, 5, emitted_tokens=1)
    batch = Batch()
    batch.join([row])
    assert (batch.cached_tokens, batch.remaining.tolist()) == (10, [4])


def test_a_request_ends_mid_iteration_and_emits_only_what_it_has_left():
    batch = batch_of((10, 3), (10, 8))
    emitted, ended = batch.emit(each(batch, 4))
    assert emitted == 3 + 4
    assert [row.request_id for row in ended] == [0]
    assert len(batch) == 1
    assert batch.cached_tokens == 14


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=20), st.integers(1, 8))
def test_every_request_says_exactly_what_it_has_to_say(lengths: list[tuple[int, int]], tlp: int):
    batch = batch_of(*lengths)
    rows = list(batch.requests)
    total, iterations = 0, 0
    while len(batch):
        total += batch.emit(each(batch, tlp))[0]
        iterations += 1
    assert total == sum(answer for _, answer in lengths)
    assert [row.emitted_tokens for row in rows] == [answer for _, answer in lengths]
    assert iterations == max(-(-answer // tlp) for _, answer in lengths)
    assert batch.cached_tokens == 0


@pytest.mark.parametrize("tlp", [1, 4])
def test_caches_grow_by_the_tokens_in_flight(tlp: int):
    batch = batch_of((10, 100), (20, 100))
    batch.emit(each(batch, tlp))
    assert batch.cached_tokens == 30 + 2 * tlp


def test_rejected_drafts_are_rolled_back():
    batch = batch_of((10, 100), (20, 100))
    emitted, _ = batch.emit(np.array([1, 5]))
    assert emitted == 6
    assert batch.cached.tolist() == [11, 25]


def test_who_leaves_takes_what_it_has_with_it():
    batch = batch_of((10, 50), (20, 50), (30, 50))
    batch.emit(each(batch, 7))
    last = batch.drop_last()
    assert (last.request_id, last.emitted_tokens, last.computed_tokens) == (2, 7, 37)
    assert batch.cached_tokens == 17 + 27
    assert [row.request_id for row in batch.drop_all()] == [0, 1]
    assert (len(batch), batch.cached_tokens) == (0, 0)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=20),
    st.integers(1, 8),
    st.integers(1, 20),
)
def test_many_iterations_at_once_are_as_many_single_ones(lengths: list[tuple[int, int]], tlp: int, n: int):
    at_once, one_by_one = batch_of(*lengths), batch_of(*lengths)
    rows = list(at_once.requests)
    total, _ = at_once.emit(n * tlp)
    assert total == sum(one_by_one.emit(tlp)[0] for _ in range(n))
    assert at_once.cached.tolist() == one_by_one.cached.tolist()
    assert at_once.cached_tokens == one_by_one.cached_tokens == int(at_once.cached.sum())
    gone = [row for row in rows if row not in at_once.requests]
    assert all(row.emitted_tokens == row.output_tokens for row in gone)
