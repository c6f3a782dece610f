import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.ops.experts import tokens_per_expert


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 80), st.integers(1, 300), st.integers(1, 16), st.data())
def test_every_row_goes_to_as_many_distinct_experts_as_asked(seed, layer, rows, n_experts, data):
    wanted = data.draw(st.integers(1, n_experts))
    loads = tokens_per_expert(seed, layer, rows, n_experts, wanted)
    assert len(loads) == n_experts
    assert sum(loads) == rows * wanted
    assert all(0 <= load <= rows for load in loads), "an expert sees a row once at most"


def test_the_draw_depends_on_seed_layer_and_rows_alone():
    first = tokens_per_expert(0, 1, 64, 8, 2)
    tokens_per_expert.cache_clear()
    tokens_per_expert(5, 6, 7, 8, 2)
    assert tokens_per_expert(0, 1, 64, 8, 2) == first
    others = [tokens_per_expert(1, 1, 64, 8, 2), tokens_per_expert(0, 2, 64, 8, 2), tokens_per_expert(0, 1, 65, 8, 2)]
    assert all(other != first for other in others)


def test_all_experts_get_every_row_when_each_row_goes_to_all():
    assert tokens_per_expert(0, 0, 5, 4, 4) == (5, 5, 5, 5)


def test_experts_are_equally_likely():
    loads = np.sum([tokens_per_expert(seed, 0, 256, 8, 2) for seed in range(200)], axis=0)
    assert loads / loads.sum() == pytest.approx(np.full(8, 1 / 8), rel=0.05)
