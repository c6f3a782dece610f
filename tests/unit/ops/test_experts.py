import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.ops.experts import Routed, Routing, Spread, awake_experts, most_experts, rank_loads, tokens_per_expert


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 80), st.integers(1, 300), st.integers(1, 16), st.data())
def test_every_row_goes_to_as_many_distinct_experts_as_asked(seed, layer, rows, n_experts, data):
    wanted = data.draw(st.integers(1, n_experts))
    loads = tokens_per_expert(Routing(seed), Routed(layer, rows, rows, n_experts, wanted))
    assert len(loads) == n_experts
    assert sum(loads) == rows * wanted
    assert all(0 <= load <= rows for load in loads), "an expert sees a row once at most"


def test_the_draw_depends_on_seed_layer_and_rows_alone():
    first = tokens_per_expert(Routing(0), Routed(1, 64, 64, 8, 2))
    tokens_per_expert.cache_clear()
    tokens_per_expert(Routing(5), Routed(6, 7, 7, 8, 2))
    assert tokens_per_expert(Routing(0), Routed(1, 64, 64, 8, 2)) == first
    others = [
        tokens_per_expert(Routing(1), Routed(1, 64, 64, 8, 2)),
        tokens_per_expert(Routing(0), Routed(2, 64, 64, 8, 2)),
        tokens_per_expert(Routing(0), Routed(1, 65, 65, 8, 2)),
    ]
    assert all(other != first for other in others)


def test_all_experts_get_every_row_when_each_row_goes_to_all():
    assert tokens_per_expert(Routing(0), Routed(0, 5, 5, 4, 4)) == (5, 5, 5, 5)


def test_experts_are_equally_likely():
    loads = np.sum([tokens_per_expert(Routing(seed), Routed(0, 256, 256, 8, 2)) for seed in range(200)], axis=0)
    assert loads / loads.sum() == pytest.approx(np.full(8, 1 / 8), rel=0.05)


def awake(routing, rows, n_experts, k, requests=None, layers=400):
    """Return the mean number of awake experts over many layers, and its standard error."""
    loads = np.array(
        [tokens_per_expert(routing, Routed(layer, rows, requests or rows, n_experts, k)) for layer in range(layers)]
    )
    numbers = (loads > 0).sum(axis=1)
    return numbers.mean(), numbers.std() / layers**0.5


@pytest.mark.parametrize(
    ("rows", "n_experts", "k"), [(1, 128, 8), (16, 128, 8), (64, 128, 8), (8, 8, 2), (40, 256, 8)]
)
def test_balanced_rows_wake_the_experts_that_the_closed_form_says(rows, n_experts, k):
    mean, error = awake(Routing(1), rows, n_experts, k)
    assert mean == pytest.approx(awake_experts(rows, n_experts, k), abs=4 * error + 1e-9)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_skewed_rows_of_one_expert_wake_what_their_popularity_says(exponent):
    """``Σ 1 − (1 − p_i)^rows`` with the ranks of Zipf."""
    popularity = np.arange(1, 65.0) ** -exponent
    expected = (1 - (1 - popularity / popularity.sum()) ** 48).sum()
    mean, error = awake(Routing(2, exponent), 48, 64, 1)
    assert mean == pytest.approx(expected, abs=4 * error)
    assert mean < awake_experts(48, 64, 1)


def test_more_skew_wakes_fewer_experts_and_fills_the_fullest():
    numbers = [awake(Routing(3, exponent), 64, 128, 8, layers=50)[0] for exponent in (0.0, 0.5, 1.0, 2.0)]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] - numbers[-1] > 20


def test_a_log_is_followed_in_every_layer():
    """Popularities in any unit; an expert that no row of the log went to gets none where others do."""
    routing = Routing(4, popularity=(500.0, 300.0, 200.0, 0.0))
    loads = np.sum([tokens_per_expert(routing, Routed(layer, 400, 400, 4, 1)) for layer in range(50)], axis=0)
    assert loads[3] == 0
    assert loads[:3] / loads.sum() == pytest.approx([0.5, 0.3, 0.2], abs=0.02)
    with pytest.raises(ValueError, match="found the popularity of 4 experts, the model has 8"):
        tokens_per_expert(routing, Routed(0, 4, 4, 8, 2))


def test_popular_experts_are_drawn_without_replacement():
    """Two of three with popularity 2, 1, 1: the first is left out with probability ¼·⅓ + ¼·⅓ = 1/6."""
    routing = Routing(5, popularity=(2.0, 1.0, 1.0))
    loads = np.sum([tokens_per_expert(routing, Routed(layer, 500, 500, 3, 2)) for layer in range(40)], axis=0)
    assert 1 - loads[0] / (40 * 500) == pytest.approx(1 / 6, abs=0.01)


@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.0])
def test_drafts_that_go_where_the_token_before_went_wake_what_the_tokens_that_choose_wake(ratio):
    """Of 8 requests with 4 rows each, 8 rows and a binomial number of the other 24 choose for themselves."""
    choosing = 8 + np.random.default_rng(0).binomial(24, 1 - ratio, size=20_000)
    expected = np.mean([awake_experts(rows, 64, 4) for rows in choosing])
    mean, error = awake(Routing(6, repeat_ratio=ratio), 32, 64, 4, requests=8)
    assert mean == pytest.approx(expected, abs=4 * error + 0.05)
    if ratio == 1:
        loads = tokens_per_expert(Routing(6, repeat_ratio=ratio), Routed(0, 32, 8, 64, 4))
        assert all(load % 4 == 0 for load in loads), "all four rows of a request go the same way"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 200), st.sampled_from([0.0, 1.0]))
def test_ranks_have_the_rows_of_their_experts(ranks, rows, skew):
    """Without copies, experts lie in order on ranks that differ by one, with the rows that the layer's draw gives them."""
    routing, routed = Routing(1, skew), Routed(2, rows, rows, 16, 4)
    loads = rank_loads(routing, routed, Spread(ranks))
    assert tuple(count for own in loads.rows for count in own) == tokens_per_expert(routing, routed)
    assert max(map(len, loads.rows)) - min(map(len, loads.rows)) <= 1
    assert max(map(len, loads.rows)) == most_experts(16, Spread(ranks))


def test_copies_share_the_rows_of_the_most_popular_and_ranks_come_closer():
    """One expert of 16 gets half of all rows; with 15 copies of experts its rows lie on several ranks."""
    routing = Routing(0, popularity=(15.0, *(1.0,) * 15))
    routed = Routed(0, 4096, 4096, 16, 1)
    fullest = [max(map(sum, rank_loads(routing, routed, Spread(8, copies)).rows)) for copies in (0, 8, 16)]
    assert fullest[0] > 4096 / 2
    assert fullest[2] <= fullest[1] < fullest[0] / 2
    assert fullest[2] < 1.3 * 4096 / 8


def test_rows_are_sent_once_per_rank_or_once_per_expert():
    """Two ranks of two experts, every row goes to all four: two copies of a row leave its rank, or one."""
    loads = rank_loads(Routing(), Routed(0, 6, 6, 4, 4), Spread(2, senders=(4, 2)))
    assert loads.rows == ((6, 6), (6, 6))
    assert loads.once_per_expert is not None
    assert loads.once_per_rank is not None
    assert loads.once_per_expert[:1] + loads.once_per_expert[2:3] == (8, 12)
    assert loads.once_per_rank[:1] + loads.once_per_rank[2:3] == (4, 6)
    apart = rank_loads(Routing(), Routed(0, 6, 6, 4, 4), Spread(2, senders=(4, 2), node_ranks=1))
    assert apart.once_per_expert is not None
    assert tuple(apart.once_per_expert) == (0, 8, 0, 12), "each rank is a node"


def test_an_expert_whose_popularity_is_next_to_nothing_is_drawn_last_and_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tokens_per_expert(Routing(6, popularity=(1.0, 1e-320)), Routed(0, 64, 64, 2, 1)) == (64, 0)
