import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.ops.shards import HeadShare, head_shares, kv_imbalance, pair_imbalance, stage_layers


def placed(n_heads, n_kv_heads, ranks):
    """Place every query head by itself, as the rule says; for each rank its query heads and the KV heads that they need."""
    group = n_heads // n_kv_heads
    owners = {kv: [rank for rank in range(ranks) if rank % n_kv_heads == kv] for kv in range(n_kv_heads)}
    if ranks <= n_kv_heads:
        owners = {kv: [kv % ranks] for kv in range(n_kv_heads)}
    heads = [[] for _ in range(ranks)]
    for head in range(n_heads):
        homes = owners[head // group]
        heads[homes[head % group % len(homes)]].append(head)
    return [(len(own), len({head // group for head in own})) for own in heads]


shapes = st.tuples(st.integers(1, 24), st.integers(1, 12), st.integers(1, 96))


@given(shapes)
def test_shares_are_those_of_heads_placed_one_by_one(shape):
    n_kv_heads, group, ranks = shape
    expected = sorted((own for own in placed(n_kv_heads * group, n_kv_heads, ranks) if own[0]), reverse=True)
    shares = head_shares(n_kv_heads * group, n_kv_heads, ranks)
    assert sorted(((s.n_heads, s.n_kv_heads) for s in shares for _ in range(s.n_ranks)), reverse=True) == expected


@given(shapes)
def test_every_query_head_is_computed_once_and_every_kv_head_is_somewhere(shape):
    n_kv_heads, group, ranks = shape
    shares = head_shares(n_kv_heads * group, n_kv_heads, ranks)
    assert sum(share.n_ranks * share.n_heads for share in shares) == n_kv_heads * group
    assert sum(share.n_ranks * share.n_kv_heads for share in shares) >= n_kv_heads
    assert sum(share.n_ranks for share in shares) <= ranks


@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "ranks", "shares"),
    [
        (32, 8, 8, [(8, 4, 1)]),
        (32, 8, 6, [(2, 8, 2), (4, 4, 1)]),  # llama3-8b on six GPUs
        (32, 32, 6, [(2, 6, 6), (4, 5, 5)]),  # llama7b on six GPUs
        (14, 2, 6, [(2, 3, 1), (4, 2, 1)]),  # Qwen2.5-0.5B on six GPUs: three copies of each head
        (4, 2, 6, [(4, 1, 1)]),  # two query heads per KV head: two of six ranks are idle
    ],
)
def test_shares_of_known_models(n_heads, n_kv_heads, ranks, shares):
    assert head_shares(n_heads, n_kv_heads, ranks) == tuple(HeadShare(*share) for share in shares)


def test_query_heads_that_do_not_fall_into_groups_are_refused():
    with pytest.raises(ValueError, match="8 query heads, expected a multiple of the 3"):
        head_shares(8, 3, 2)


@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "ranks", "imbalance"),
    [(14, 2, 6, 3.0), (32, 8, 6, 1.5), (32, 32, 6, 1.125), (64, 8, 8, 1.0), (64, 8, 16, 2.0)],
)
def test_room_shrinks_by_the_heads_of_the_fullest_rank(n_heads, n_kv_heads, ranks, imbalance):
    assert kv_imbalance(n_heads, n_kv_heads, ranks) == imbalance


@given(st.integers(1, 10_000), st.integers(1, 2_000))
def test_pairs_fill_units_to_within_one_pair(n_pairs, units):
    fullest = max(len(range(unit, n_pairs, units)) for unit in range(min(units, n_pairs)))
    assert pair_imbalance(n_pairs, units) == pytest.approx(fullest / (n_pairs / units))


@given(st.integers(1, 200), st.integers(1, 50))
def test_stages_hold_all_layers_and_the_first_is_the_fullest(n_layers, stages):
    layers = stage_layers(n_layers, stages)
    assert len(layers) == stages
    assert sum(layers) == n_layers
    assert layers[0] == math.ceil(n_layers / stages)
    assert layers[-1] == n_layers // stages
