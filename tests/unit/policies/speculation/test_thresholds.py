"""Policies whose drafts stop at a threshold: DV, AdaEDL and SADDLE."""

import math

import pytest

from papisim.policies.speculation.base import Draft, Proposal
from papisim.policies.speculation.dynamic_stop import AdaptiveThreshold, ThresholdOptions, positions_kept


def threshold(**fields):
    given = {
        "initial": 0.6,
        "target": 0.8,
        "step": 0.01,
        "smoothing": 0.9,
        "initial_rate": 0.0,
        "rate_smoothing": 0.5,
    }
    return AdaptiveThreshold(ThresholdOptions(**(given | fields)))


def entropic(*entropy):
    return Proposal((0.5,) * len(entropy), entropy)


@pytest.mark.parametrize(
    ("signal", "length", "least", "kept"),
    [
        ((0.5, 0.5), 2, 1, 2),
        ((0.5, 0.49), 2, 1, 2),
        ((0.49, 0.5), 2, 1, 1),
        ((0.49, 0.5, 0.5), 3, 2, 3),
        ((0.49, 0.49, 0.5), 3, 2, 2),
        ((), 0, 1, 0),
        ((0.9, 0.9, 0.1), 2, 1, 2),
    ],
)
def test_the_token_that_stops_a_draft_stays_in_it(signal, length, least, kept):
    assert positions_kept(signal, 0.5, length, least) == kept


def test_the_threshold_moves_a_tenth_of_a_step_up_below_the_target_and_down_at_or_above_it():
    moving = threshold()
    moving.update(1.0)  # rate 0.5
    assert moving.value == pytest.approx(0.601)
    moving.update(1.0)  # rate 0.75
    assert moving.value == pytest.approx(0.602)
    moving.update(1.0)  # rate 0.875
    assert moving.value == pytest.approx(0.601)
    resting = threshold(initial_rate=1.0)
    resting.update(1.0, may_fall=False)
    assert resting.value == 0.6
    edge = threshold(initial_rate=0.8)
    edge.update(0.8)
    assert edge.value == pytest.approx(0.599)


def test_draft_verify_smooths_the_rate_of_all_drafts_so_far(policy, seen):
    subject = policy("draft_verify")
    subject.observe([seen(4, 4)])
    subject.observe([seen(0, 4)])
    state = subject.state(0).threshold
    assert state.rate == pytest.approx(0.5 * (0.5 * 1.0) + 0.5 * (4 / 8))
    assert state.value == pytest.approx(0.602)


def test_draft_verify_drafts_at_most_eighteen_and_stops_at_its_requests_threshold(policy, view, seen, confident):
    subject = policy("draft_verify")
    drafts = subject.plan(view(0, 1))
    assert drafts == [Draft(18, exit_layer=3)] * 2
    for _ in range(3):
        subject.observe([seen(0, 4, request_id=0)])
    sure, wavering = [0.9] * 18, [0.6 if i == 1 else 0.9 for i in range(18)]
    assert subject.cut([0, 1], drafts, [confident(*wavering), confident(*wavering)]) == [2, 18]
    assert subject.cut([0, 1], drafts, [confident(*sure), confident(*sure)]) == [18, 18]


def test_adaedls_bound_of_acceptance(policy):
    subject = policy("adaedl")
    assert subject.acceptance_bound(0.0) == 1.0
    assert subject.acceptance_bound(2.5) == pytest.approx(0.5)
    assert subject.acceptance_bound(1.0) == pytest.approx(1 - math.sqrt(0.1))


@pytest.mark.parametrize(("least", "kept"), [(1, 2), (2, 2), (3, 4), (5, 7)])
def test_adaedl_stops_the_whole_batch_where_the_first_request_stops(policy, view, least, kept):
    subject = policy("adaedl", min_length=least)
    drafts = subject.plan(view(0, 1))
    assert drafts == [Draft(7)] * 2
    wavering, sure = entropic(1, 2.51, 1, 2.51, 1, 1, 1), entropic(*[2.5] * 7)
    assert subject.cut([0, 1], drafts, [sure, wavering]) == [kept, kept]
    assert subject.cut([0, 1], drafts, [wavering, sure]) == [kept, kept]
    assert subject.cut([0, 1], drafts, [sure, sure]) == [7, 7]


def test_adaedls_threshold_falls_only_when_a_whole_longest_draft_is_accepted(policy, seen):
    subject = policy("adaedl")
    for request_id, (accepted, drafted) in enumerate([(7, 7), (3, 3), (1, 7)]):
        subject.observe([seen(accepted, drafted, request_id=request_id)])
    assert [subject.state(i).value for i in range(3)] == pytest.approx([0.499, 0.5, 0.501])


@pytest.mark.parametrize(
    ("confidence", "kept"),
    [
        ((0.9, 0.8, 0.5, 0.6, 0.9), 4),  # 0.9, 0.72, 0.36, 0.216: the example of a note on the paper
        ((0.9, 0.9, 0.9, 0.9, 0.9), 5),
        ((0.24, 0.9, 0.9, 0.9, 0.9), 1),
        ((0.6, 0.5, 0.9, 0.9, 0.9), 4),  # exactly at the threshold after two tokens, below it after four
    ],
)
def test_saddle_ends_a_draft_when_it_is_unlikely_as_a_whole(policy, confidence, kept):
    subject = policy("saddle", threshold=0.25, max_length=5)
    proposal = Proposal(confidence, (0.0,) * 5)
    assert subject.cut([0, 1], [Draft(5), Draft(2)], [proposal, proposal]) == [kept, min(kept, 2)]
