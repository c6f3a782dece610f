"""What every acceptance process must do, whatever its kind and parameters."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.acceptance.base import ACCEPTANCE
from papisim.catalog import Shelf
from papisim.config.sections import load_section

NAMES = sorted(catalog.shipped(Shelf.ACCEPTANCE))
DRAFTS = st.lists(st.integers(0, 12), min_size=1, max_size=12)
every_process = pytest.mark.parametrize("name", NAMES)
few = settings(max_examples=15, deadline=None)


@cache
def load(name):
    return load_section("acceptance", name)


def start(name, seed, request):
    found = load(name)
    return ACCEPTANCE.build(found.options, seed).start(request), 3 if found.kind == "early_exit" else None


@every_process
@few
@given(drafts=DRAFTS, seed=st.integers(0, 99))
def test_accepted_is_at_most_what_was_drafted(name, drafts, seed):
    sequence, layer = start(name, seed, 1)
    for drafted in drafts:
        outcome = sequence.round(drafted, layer)
        assert outcome.drafted == drafted
        assert 0 <= outcome.accepted <= drafted
        assert len(outcome.confidence) == drafted


@every_process
@few
@given(drafts=DRAFTS, seed=st.integers(0, 99), looks=st.integers(0, 12))
def test_a_cut_draft_has_the_accepted_of_the_long_one_cut(name, drafts, seed, looks):
    """Looking ahead and cutting change neither this round nor any later one, signals included."""
    (long, layer), (cut, _) = start(name, seed, 7), start(name, seed, 7)
    for drafted in drafts:
        shown = cut.proposal(looks, layer)
        whole, part = long.round(12, layer), cut.round(drafted, layer)
        assert part.accepted == min(whole.accepted, drafted)
        assert part.confidence == whole.confidence[:drafted]
        assert part.entropy == whole.entropy[:drafted]
        assert part.kld == whole.kld[:drafted]
        assert (shown.confidence, shown.entropy) == (whole.confidence[:looks], whole.entropy[:looks])


@every_process
@few
@given(seed=st.integers(0, 99))
def test_the_same_seed_gives_the_same_rounds_in_any_order_of_requests(name, seed):
    def play(order):
        process, layer = (
            ACCEPTANCE.build(load(name).options, seed),
            3 if load(name).kind == "early_exit" else None,
        )
        sequences = {request: process.start(request) for request in order}
        return {request: [sequences[request].round(6, layer).accepted for _ in range(8)] for request in order}

    assert play([0, 1, 2]) == play([2, 0, 1])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "always"])
def test_requests_and_seeds_differ(name):
    def play(seed, request):
        sequence, layer = start(name, seed, request)
        return [sequence.round(6, layer).accepted for _ in range(40)]

    assert play(0, 0) != play(0, 1)
    assert play(0, 0) != play(1, 0)


@pytest.mark.parametrize("name", [name for name in NAMES if load(name).kind == "tree"])
@few
@given(seed=st.integers(0, 99))
def test_a_larger_tree_never_has_fewer_accepted(name, seed):
    (small, _), (large, _) = start(name, seed, 0), start(name, seed, 0)
    nodes = ((0,), (0, 0), (1,))
    more = (*nodes, (1, 0), (0, 0, 0), (2,), (0, 1))
    for _ in range(30):
        assert small.round_tree(nodes).accepted <= large.round_tree(more).accepted
