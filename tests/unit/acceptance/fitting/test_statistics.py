import numpy as np
import pytest

from papisim.acceptance.fitting.statistics import (
    Weighing,
    autocorrelation,
    hazards,
    measure,
    sampling_error,
    turn_means,
)
from papisim.acceptance.fitting.steps import gather
from papisim.acceptance.log import Turn


def turn(accepted, drafted=4, task="", source="a"):
    accepted = np.array(accepted)
    drafted = np.broadcast_to(drafted, accepted.shape)
    return Turn(source, task, None, drafted, accepted)


TURNS = [turn([1, 2, 3, 0]), turn([0, 4, 9], drafted=9), turn([2])]


def test_the_last_step_is_left_out_unless_it_is_the_only_one():
    steps = gather(TURNS)
    assert steps.accepted.tolist() == [1, 2, 3, 0, 4, 2]
    assert steps.lengths.tolist() == [3, 2, 1]
    assert steps.turn.tolist() == [0, 0, 0, 1, 1, 2]


def test_steps_beyond_a_limit_are_left_out_and_none_is_the_last_then():
    assert gather(TURNS, max_steps=2).accepted.tolist() == [1, 2, 0, 4, 2]


def test_statistics_by_hand():
    """Mean 2, deviations −1 0 1 | −2 2 | 0: variance 10/6, two pairs of products 0; the turn of one pair has no say."""
    found = measure(gather(TURNS), 4)
    assert (found.n_turns, found.n_steps, found.tokens_per_step) == (3, 6, 3.0)
    assert found.survival == pytest.approx([5 / 6, 4 / 6, 2 / 6, 1 / 6])
    assert found.spread == 0.0
    assert found.lag1_autocorrelation == 0.0


def test_turns_that_differ_spread_and_correlate():
    steps = gather([turn([1, 1, 1, 1, 0]), turn([3, 3, 3, 3, 0])])
    assert turn_means(steps).tolist() == [1, 3]
    assert measure(steps, 1).spread == 1.0
    assert autocorrelation(steps, 1) == autocorrelation(steps, 2) == 1.0


def test_autocorrelation_by_hand():
    """Mean 1, deviations 1 1 −1 −1: variance 1, products 1 −1 1."""
    steps = gather([turn([2, 2, 0, 0, 9], drafted=9)])
    assert autocorrelation(steps, 1) == pytest.approx(1 / 3)
    assert autocorrelation(steps, 2) == pytest.approx(-1)


def test_what_never_varies_has_no_autocorrelation():
    assert autocorrelation(gather([turn([2, 2, 2])]), 1) == 0.0
    assert autocorrelation(gather([turn([2]), turn([3])]), 1) == 0.0


def test_tries_stop_at_the_first_wrong_token_and_at_the_drafts_end():
    tried, accepted = hazards(gather([turn([2, 0, 1, 0], drafted=[2, 3, 4, 4])]), 4)
    assert tried.tolist() == [3, 2, 0, 0]
    assert accepted.tolist() == [2, 1, 0, 0]


def test_weighing_turns_once_is_measuring_them():
    rng = np.random.default_rng(0)
    steps = gather([turn(rng.integers(0, 5, size)) for size in (1, 2, 7, 30, 12)])
    found = measure(steps, 3)
    row = Weighing(steps, 3)(np.ones((1, 5)))[0]
    assert row == pytest.approx([found.tokens_per_step, found.spread, found.lag1_autocorrelation, *found.survival])


def test_weighing_a_turn_twice_is_having_it_twice():
    turns = [turn([1, 2, 0, 0]), turn([4, 3, 3, 1, 0])]
    doubled = measure(gather([turns[0], *[turns[1]] * 2]), 2)
    row = Weighing(gather(turns), 2)(np.array([[1.0, 2.0]]))[0]
    assert row[:3] == pytest.approx([doubled.tokens_per_step, doubled.spread, doubled.lag1_autocorrelation])


def test_the_standard_error_of_equally_long_independent_turns_is_that_of_their_mean():
    rng = np.random.default_rng(1)
    steps = gather([turn(np.append(rng.binomial(4, 0.5, 50), 0)) for _ in range(100)])
    error = sampling_error(steps, 2, rng, resamples=1000)
    assert error.tokens_per_step == pytest.approx(turn_means(steps).std() / np.sqrt(100), rel=0.1)
