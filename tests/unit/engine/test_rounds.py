"""The coming round may be settled before it is verified, and nothing changes but when it is drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.acceptance.base import ACCEPTANCE, Sequence
from papisim.config.sections import load_section
from papisim.engine.rounds import Rounds


def sequence(name: str, seed: int = 3) -> Sequence:
    options = load_section("acceptance", name, []).options
    return ACCEPTANCE.build(options, seed).start(7)


def geometric(alpha: float) -> Sequence:
    options = load_section("acceptance", "geometric", [f"acceptance.alpha={alpha}"]).options
    return ACCEPTANCE.build(options, 5).start(0)


@pytest.mark.parametrize("name", ["meta_8b", "sps_adaptive_vicuna7b", "eagle2_chain6_llama3_8b"])
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_rounds_settled_early_are_the_rounds_of_the_sequence(name: str, rounds: list[tuple[int, int, bool]]):
    ahead, plain = Rounds(sequence(name)), sequence(name)
    for length, longer, settles in rounds:
        if settles:
            ahead.settle(length + longer)
        outcome = plain.round(length)
        verdict = ahead.verify(length).outcome
        assert (verdict.drafted, verdict.accepted) == (outcome.drafted, outcome.accepted)
        assert (verdict.confidence, verdict.entropy, verdict.kld) == (
            outcome.confidence,
            outcome.entropy,
            outcome.kld,
        )


@pytest.mark.parametrize(("alpha", "goes_on"), [(1.0, True), (0.0, False)])
def test_a_request_goes_on_only_if_the_token_after_its_drafts_is_right(alpha: float, *, goes_on: bool):
    assert Rounds(geometric(alpha)).verify(3).goes_on is goes_on


def test_requests_go_on_as_often_as_one_more_draft_would_have_been_accepted():
    rounds, n = Rounds(geometric(0.8)), 4000
    assert sum(rounds.verify(3).goes_on for _ in range(n)) / n == pytest.approx(0.8**4, abs=0.02)


def test_a_chain_shows_the_settled_round_the_guess_and_the_round_after():
    rounds, plain = Rounds(sequence("sps_adaptive_vicuna7b")), sequence("sps_adaptive_vicuna7b")
    shown = rounds.proposal(5)
    rounds.settle(5)
    assert rounds.longest == 5
    assert rounds.proposal(5) == shown, "a settled round looks as it did before"
    first = plain.round(4)
    assert rounds.chain(3, 2).confidence == first.confidence + plain.proposal(2).confidence
