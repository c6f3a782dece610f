from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the [capture] extra")

from papisim.tracing.routing import Routing

pytestmark = pytest.mark.capture


@pytest.mark.parametrize(("n_tokens", "n_experts", "n_per_token"), [(1, 8, 2), (3, 8, 2), (64, 8, 2), (40, 128, 8)])
def test_each_token_goes_to_distinct_experts(n_tokens: int, n_experts: int, n_per_token: int) -> None:
    drawn = Routing(n_experts, n_per_token).draw(n_tokens, (0,)).tolist()
    assert len(drawn) == n_tokens
    assert all(len(set(experts)) == n_per_token for experts in drawn)
    assert {expert for experts in drawn for expert in experts} <= set(range(n_experts))


@pytest.mark.parametrize(
    ("n_tokens", "n_experts", "n_per_token"), [(4, 8, 2), (64, 8, 2), (16, 128, 8), (33, 160, 6)]
)
def test_no_expert_stays_idle_when_there_are_enough_tokens(n_tokens: int, n_experts: int, n_per_token: int) -> None:
    drawn = Routing(n_experts, n_per_token).draw(n_tokens, (0,))
    assert set(drawn.flatten().tolist()) == set(range(n_experts))


def test_a_seed_is_a_draw() -> None:
    routing = Routing(8, 2)
    assert routing.draw(64, (0, 1)).equal(routing.draw(64, (0, 1)))
    assert not routing.draw(64, (0, 1)).equal(routing.draw(64, (0, 2)))
    assert not routing.draw(64, (0, 1)).equal(Routing(8, 2, seed=1).draw(64, (0, 1)))


def test_some_experts_may_stand_for_all() -> None:
    drawn = Routing(128, 8, n_used=16).draw(33, (0,))
    assert set(drawn.flatten().tolist()) == set(range(16))
    assert all(len(set(experts)) == 8 for experts in drawn.tolist())
