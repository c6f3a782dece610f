"""A curve by draft length is met at every length, whatever its shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.acceptance import curve
from papisim.acceptance.fitting.curves import as_yaml, read_curves
from papisim.config.base import parse
from papisim.config.sections import load_section
from papisim.config.yaml import Document
from papisim.errors import InputError, NotModelled

FALLING = [1.8, 2.5, 3.0, 3.3, 3.1, 2.9]


def process(means, seed=0):
    return curve.Acceptance(curve.Options(kind="curve", tokens_per_step=means), seed)


def mean_tokens(subject, length, requests=40, rounds=1000):
    sequences = [subject.start(request) for request in range(requests)]
    return 1 + np.mean([each.round(length).accepted for each in sequences for _ in range(rounds)])


@pytest.mark.parametrize("length", range(1, len(FALLING) + 1))
def test_a_falling_curve_is_met_at_every_length(length):
    """40,000 rounds: the standard error is below 0.4 %."""
    assert mean_tokens(process(FALLING), length) == pytest.approx(FALLING[length - 1], rel=0.01)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.02, 0.98), min_size=1, max_size=10))
def test_survival_falls_and_adds_up_to_the_mean(shares):
    """Any curve that a draft can have: means between one token and the whole draft."""
    means = [1 + share * length for length, share in enumerate(shares, start=1)]
    for length, survival in enumerate(curve.Options(kind="curve", tokens_per_step=means).survival, start=1):
        assert len(survival) == length
        assert 1 + sum(survival) == pytest.approx(means[length - 1], rel=1e-4)
        assert survival == sorted(survival, reverse=True)
        assert 0 <= survival[-1] <= survival[0] <= 1


def test_the_survival_of_a_concave_curve_is_its_increments():
    survival = curve.Options(kind="curve", tokens_per_step=[1.8, 2.4, 2.8]).survival
    for length in (1, 2, 3):
        assert survival[length - 1] == pytest.approx([0.8, 0.6, 0.4][:length], rel=1e-6)


def test_longer_drafts_yield_what_the_longest_measured_one_does():
    long, longest = process(FALLING).start(1), process(FALLING).start(1)
    assert [long.round(9).accepted for _ in range(50)] == [longest.round(6).accepted for _ in range(50)]


def test_trees_are_refused():
    with pytest.raises(NotModelled, match="a tree of 1 nodes"):
        process(FALLING).start(0).round_tree(((0,),))


def test_more_tokens_than_a_draft_has_are_refused():
    with pytest.raises(InputError, match=r"found 3\.2 tokens per step of drafts of 2"):
        parse(curve.Options, Document({"kind": "curve", "tokens_per_step": [1.5, 3.2]}, "curve"))


INFERENCEX = "some-model:\n  thinking_on:\n    1: 1.5\n    2: 1.9\n  thinking_off:\n    1: 1.6\n"
TABLE = "model,mode,draft_tokens,tokens_per_step\nsome-model,thinking_on,1,1.5\nsome-model,thinking_on,2,1.9\n"


@pytest.mark.parametrize("text", [INFERENCEX, TABLE])
def test_published_curves_are_read_and_written_as_processes(tmp_path, text):
    path = tmp_path / "golden.yaml"
    path.write_text(text)
    curves = read_curves(path)
    assert curves["some-model.thinking_on"] == [1.5, 1.9]
    written = tmp_path / "process.yaml"
    written.write_text(as_yaml("some-model.thinking_on", [1.5, 1.9], "golden.yaml"))
    options = load_section("acceptance", str(written)).options
    assert (options.tokens_per_step, options.known_positions, options.depends_on_length) == ([1.5, 1.9], 2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m:\n  on:\n    1: 1.5\n    3: 1.9\n", "expected all from 1 on"),
        ("m:\n  on:\n    1: 2.5\n", "found 2.5 tokens per step of drafts of 1"),
        ("m:\n  on:\n    1: many\n", "expected a number"),
        ("m: 3\n", "has no curve"),
    ],
)
def test_a_curve_with_gaps_or_impossible_means_is_refused(tmp_path, text, message):
    path = tmp_path / "golden.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_curves(path)
