"""Conversations: each turn repeats what was said before, and system prompts are as popular as Zipf's law says."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from papisim.workloads import sessions
from papisim.workloads.base import Request


def workload(seed: int = 0, **options: object) -> sessions.Workload:
    fields = {
        "kind": "sessions",
        "n_requests": 400,
        "rate_per_s": 2,
        "mean_turns": 4,
        "think_time": {"mean_s": 5, "cv": 0},
        "lengths": {"kind": "uniform", "input_tokens": 100, "output_tokens": 50, "min_ratio": 0.5},
        **options,
    }
    return sessions.Workload(sessions.Options.model_validate(fields), seed)


def turns_of(source: sessions.Workload, answered_s: float = 3.0) -> list[list[Request]]:
    found = []
    for first in source:
        session = [first]
        while (after := source.follow(session[-1], session[-1].arrival_s + answered_s)) is not None:
            session.append(after)
        found.append(session)
    return found


def test_a_turn_begins_with_all_that_was_said_before_it():
    for session in turns_of(workload(system_prompts={"number": 3, "tokens": 64})):
        for before, after in pairwise(session):
            said = (*before.content, (before.answer, before.output_tokens))
            assert after.content[: len(said)] == said
            assert len(after.content) == len(said) + 1
            assert after.arrival_s == pytest.approx(before.arrival_s + 3 + 5)
        assert all(turn.input_tokens == sum(span.tokens for span in turn.content) for turn in session)
        assert session[0].content[0].tokens == 64


def test_every_request_is_a_turn_of_one_session():
    found = turns_of(workload())
    assert sorted(turn.request_id for session in found for turn in session) == list(range(400))
    answers = [turn.answer for session in found for turn in session]
    assert len(set(answers)) == 400


def test_turns_have_the_mean_asked_for():
    lengths = [len(session) for session in turns_of(workload(n_requests=20_000))]
    assert np.mean(lengths) == pytest.approx(4, rel=0.05)
    assert np.var(lengths) == pytest.approx(4 * 3, rel=0.15), "of a geometric distribution with mean m: m (m − 1)"
    assert {len(session) for session in turns_of(workload(turns="fixed"))} == {4}
    assert {len(session) for session in turns_of(workload(mean_turns=1))} == {1}


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_system_prompts_are_as_popular_as_zipf_says(exponent: float):
    prompts = {"number": 5, "tokens": 10, "zipf_exponent": exponent}
    firsts = list(workload(n_requests=40_000, mean_turns=1, system_prompts=prompts))
    counts = Counter(request.content[0].key for request in firsts)
    weights = np.arange(1, 6) ** -exponent
    for rank, share in enumerate(weights / weights.sum()):
        assert counts["system", rank] / len(firsts) == pytest.approx(share, abs=0.01)
