"""Policies that step by what was accepted: FS, Hugging Face, GammaTune."""

import gzip
import json

import pytest

from papisim.policies.speculation.base import Draft


def planned(subject, view, request_id=0):
    return subject.plan(view(request_id))[0].length


def follow(subject, view, seen, accepted):
    """Return the length after each round in which the draft's correct prefix is as long as offered."""
    lengths = []
    for offered in accepted:
        length = planned(subject, view)
        subject.observe([seen(min(offered, length), length)])
        lengths.append(planned(subject, view))
    return lengths


@pytest.mark.parametrize(
    ("name", "start", "offered", "lengths"),
    [
        ("feedback_step", 6, [6, 7, 3, 0, 0], [7, 8, 7, 6, 5]),
        ("feedback_step", 1, [0, 0, 1], [1, 1, 2]),
        ("feedback_step", 18, [18, 18, 0], [18, 18, 17]),
        ("hf_heuristic", 5, [5, 7, 8, 8, 0], [7, 9, 8, 10, 9]),
        ("hf_heuristic", 2, [0, 0, 1, 3], [1, 1, 3, 5]),
        ("hf_heuristic", 19, [19, 20, 0], [20, 20, 19]),
    ],
)
def test_steps_up_after_full_acceptance_and_down_after_anything_less(
    *, policy, view, seen, name, start, offered, lengths
):
    assert follow(policy(name, initial_length=start), view, seen, offered) == lengths


def test_feedback_step_drafts_with_its_exit_layer_if_it_has_one(policy, view):
    assert policy("feedback_step").plan(view(0)) == [Draft(6, exit_layer=3)]
    assert policy("feedback_step", exit_layer=None).plan(view(0)) == [Draft(6)]


def test_hugging_face_keeps_its_length_when_a_stopped_draft_is_accepted(policy, view, seen, confident):
    subject = policy("hf_heuristic", threshold=0.4)
    kept = subject.cut([0], subject.plan(view(0)), [confident(0.9, 0.3, 0.9, 0.9, 0.9)])
    assert kept == [2], "the unsure token stays"
    subject.observe([seen(2, 2)])
    assert planned(subject, view) == 7, "two more than planned"


@pytest.mark.shared_data
def test_hugging_face_drafts_what_its_library_was_logged_to_draft(policy, view, seen, data):
    steps = 0
    with gzip.open(data("acceptance/spec_steps.jsonl.gz"), "rt", encoding="utf-8") as log:
        turns = [turn for turn in map(json.loads, log) if turn["source"] == "sps_adaptive_vicuna7b"]
    for turn in turns[:200]:
        subject = policy("hf_heuristic", max_length=1000)
        rounds = list(zip(turn["draft_len"], turn["accepted"], strict=True))
        for length, accepted in rounds[:-1]:  # the last step may have been cut by the end of the turn
            assert planned(subject, view) == length
            subject.observe([seen(accepted, length)])
            steps += 1
    assert steps > 5000


def test_gammatunes_vector(policy, view, seen):
    """Smoothing 0.2, probe 2, bounds 1 to 10, start 4; the correct prefixes on offer."""
    subject = policy("gammatune", smoothing=0.2, probe=2, min_length=1, max_length=10, initial_length=4)
    trail = []
    for offered in (4, 6, 3, 2, 1, 2, 3, 3):
        length = planned(subject, view)
        accepted = min(offered, length)
        subject.observe([seen(accepted, length)])
        trail.append((length, accepted, round(subject.state(0).smoothed, 3), planned(subject, view)))
    assert trail == [
        (4, 4, 4.000, 6), (6, 6, 4.000, 8), (8, 3, 3.800, 4), (4, 2, 3.440, 4),
        (4, 1, 2.952, 3), (3, 2, 2.762, 3), (3, 3, 2.762, 5), (5, 3, 2.809, 3),
    ]  # fmt: skip


def test_gammatune_is_clipped_on_both_sides(policy, view, seen):
    assert follow(policy("gammatune"), view, seen, [99] * 6) == [6, 8, 10, 10, 10, 10]
    assert follow(policy("gammatune"), view, seen, [0] * 40)[-1] == 1
    assert follow(policy("gammatune", min_length=3), view, seen, [0] * 9)[-1] == 3
    assert follow(policy("gammatune", min_length=3), view, seen, [0] * 9 + [2])[-1] == 3


def test_gammatune_compares_with_what_was_really_drafted(policy, view, seen):
    subject = policy("gammatune", initial_length=8)
    subject.observe([seen(2, 2)])
    assert planned(subject, view) == 4


@pytest.mark.parametrize(
    ("confidence", "kept"),
    [
        ((0.4, 0.4, 0.4, 0.4), 4),
        ((0.39, 0.9, 0.9, 0.9), 1),
        ((0.9, 0.9, 0.39, 0.1), 3),
        ((0.9, 0.9, 0.9, 0.1), 4),
    ],
)
def test_gammatune_plus_stops_after_the_first_unsure_token(policy, view, confident, confidence, kept):
    plus, plain = policy("gammatune_plus", threshold=0.4), policy("gammatune")
    drafts = plus.plan(view(0))
    assert plus.cut([0], drafts, [confident(*confidence)]) == [kept]
    assert plain.cut([0], drafts, [confident(*confidence)]) == [4]


def test_gammatune_plus_stops_each_request_by_itself(policy, view, confident):
    subject = policy("gammatune_plus")
    proposals = [confident(0.1, 0.9, 0.9, 0.9), confident(0.9, 0.9, 0.9, 0.9)]
    assert subject.cut([0, 1], subject.plan(view(0, 1)), proposals) == [1, 4]
