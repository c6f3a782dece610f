from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the [capture] extra")

from papisim.tracing.routing import draw_experts

pytestmark = pytest.mark.capture


@pytest.mark.parametrize(("n_tokens", "n_experts", "n_per_token"), [(1, 8, 2), (3, 8, 2), (64, 8, 2), (40, 128, 8)])
def test_each_token_goes_to_distinct_experts(n_tokens: int, n_experts: int, n_per_token: int) -> None:
    drawn = draw_experts(n_tokens, n_experts, n_per_token, (0,)).tolist()
    assert len(drawn) == n_tokens
    assert all(len(set(experts)) == n_per_token for experts in drawn)
    assert {expert for experts in drawn for expert in experts} <= set(range(n_experts))


@pytest.mark.parametrize(
    ("n_tokens", "n_experts", "n_per_token"), [(4, 8, 2), (64, 8, 2), (16, 128, 8), (33, 160, 6)]
)
def test_no_expert_stays_idle_when_there_are_enough_tokens(n_tokens: int, n_experts: int, n_per_token: int) -> None:
    drawn = draw_experts(n_tokens, n_experts, n_per_token, (0,))
    assert set(drawn.flatten().tolist()) == set(range(n_experts))


def test_a_seed_is_a_draw() -> None:
    assert draw_experts(64, 8, 2, (0, 1)).equal(draw_experts(64, 8, 2, (0, 1)))
    assert not draw_experts(64, 8, 2, (0, 1)).equal(draw_experts(64, 8, 2, (0, 2)))
