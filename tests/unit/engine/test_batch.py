import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.engine.batch import Batch
from papisim.engine.ledger import RequestRow


def batch_of(*lengths: tuple[int, int]) -> Batch:
    batch = Batch()
    batch.join([RequestRow(i, 0.0, prompt, answer) for i, (prompt, answer) in enumerate(lengths)])
    return batch


def test_a_joined_batch_caches_the_prompts():
    batch = batch_of((10, 5), (20, 7))
    assert batch.cached_tokens == 30
    lengths = batch.lengths(tlp=3)
    assert (lengths.n_requests, lengths.query_tokens, lengths.kv_tokens) == (2, 6, 36)
    assert lengths.longest_kv == 23
    assert lengths.pairs == 3 * 36


def test_the_first_token_comes_without_growing_the_cache():
    batch = batch_of((10, 5))
    emitted, ended = batch.emit(1, grow=False)
    assert (emitted, ended, batch.cached_tokens) == (1, [], 10)


def test_a_request_ends_mid_iteration_and_emits_only_what_it_has_left():
    batch = batch_of((10, 3), (10, 8))
    emitted, ended = batch.emit(4)
    assert emitted == 3 + 4
    assert [row.request_id for row in ended] == [0]
    assert len(batch) == 1
    assert batch.cached_tokens == 14


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=20), st.integers(1, 8))
def test_every_request_says_exactly_what_it_has_to_say(lengths: list[tuple[int, int]], tlp: int):
    batch = batch_of(*lengths)
    rows = list(batch.rows)
    total, iterations = 0, 0
    while len(batch):
        total += batch.emit(tlp)[0]
        iterations += 1
    assert total == sum(answer for _, answer in lengths)
    assert [row.emitted_tokens for row in rows] == [answer for _, answer in lengths]
    assert iterations == max(-(-answer // tlp) for _, answer in lengths)
    assert batch.cached_tokens == 0


def test_an_empty_batch_has_no_longest_cache():
    assert Batch().lengths(1).longest_kv == 1
    assert len(Batch()) == 0


@pytest.mark.parametrize("tlp", [1, 4])
def test_caches_grow_by_the_tokens_in_flight(tlp: int):
    batch = batch_of((10, 100), (20, 100))
    batch.emit(tlp)
    assert batch.cached_tokens == 30 + 2 * tlp
