"""The fit finds the process that made a log, and the log's own rule of draft lengths."""

import numpy as np
import pytest

from papisim.acceptance import fitted
from papisim.acceptance.fitting.estimate import fit
from papisim.acceptance.fitting.holdout import TOLERANCE, check, held_out
from papisim.acceptance.fitting.lengths import LengthRule
from papisim.acceptance.fitting.simulate import Parameters, length_rule, plan, simulate
from papisim.acceptance.fitting.statistics import measure
from papisim.acceptance.fitting.steps import gather
from papisim.acceptance.fitting.write import as_yaml
from papisim.acceptance.log import Turn
from papisim.config.sections import load_section

LEVEL = {"probabilities": [0.0, 0.5, 1.0], "log_odds": [-1.0, 0.0, 1.5]}
OPTIONS = fitted.Options(
    kind="fitted",
    conditional=[0.8, 0.7, 0.65],
    level=LEVEL,
    state={"share": 0.4, "memory": 0.85},
)
PARAMETERS = Parameters(
    log_odds=np.log(np.array(OPTIONS.conditional) / (1 - np.array(OPTIONS.conditional))),
    probabilities=np.array(LEVEL["probabilities"]),
    levels=np.array(LEVEL["log_odds"]),
    share=0.4,
    memory=0.85,
)


def after(drafted, accepted):
    """Two more after full acceptance, else one less: Hugging Face's heuristic, kept to 1 … 8."""
    return min(8, drafted + 2) if accepted == drafted else max(1, drafted - 1)


def play(n_turns, tokens=120, drafted=5, adaptive=False, seed=0, longest_answer=1.0):
    """Turns of the process, stepped through request by request."""
    process, rng = fitted.Acceptance(OPTIONS, seed), np.random.default_rng(seed)
    turns = []
    for request in range(n_turns):
        sequence, length, steps, lengths = process.start(request), drafted, [], []
        wanted = int(tokens * rng.uniform(0.3, longest_answer))
        while sum(steps) + len(steps) < wanted:
            lengths.append(length)
            steps.append(sequence.round(length).accepted)
            length = after(length, steps[-1]) if adaptive else length
        turns.append(Turn("a", f"task{request % 3}", wanted, np.array(lengths), np.array(steps)))
    return turns


def off(one, other):
    return {
        "tokens_per_step": abs(one.tokens_per_step / other.tokens_per_step - 1),
        "spread": abs(one.spread / other.spread - 1),
        "lag1_autocorrelation": abs(one.lag1_autocorrelation - other.lag1_autocorrelation),
        "S_j": max(abs(a - b) for a, b in zip(one.survival, other.survival, strict=True)),
    }


@pytest.mark.parametrize("adaptive", [False, True])
def test_simulating_all_turns_at_once_is_stepping_through_each(adaptive):
    turns = play(600, adaptive=adaptive)
    requests = plan(turns, length_rule(turns, 8), 8, None).repeated(5)
    together = measure(simulate(PARAMETERS, requests, (0,)), 5)
    errors = off(together, measure(gather(turns), 5))
    assert errors["tokens_per_step"] < 0.03
    assert errors["spread"] < 0.07
    assert errors["lag1_autocorrelation"] < 0.03
    assert errors["S_j"] < 0.02


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_fit_has_the_statistics_of_its_log(adaptive):
    found = fit(play(150, adaptive=adaptive), seed=0)
    errors = off(found.simulated, found.measured)
    assert all(errors[name] < tolerance / 2 for name, tolerance in TOLERANCE.items()), errors


def test_the_adaptive_rule_of_a_log_is_found():
    rule = LengthRule(gather(play(100, adaptive=True)), 8)
    lengths = np.array([5, 5, 1, 8, 8])
    right = np.array([5, 2, 0, 8, 3])
    for uniform in (0.0, 0.5, 0.999):
        following = rule.following(lengths, right, np.full(5, uniform))
        assert following.tolist() == [7, 4, 1, 8, 7]
    assert rule.first(np.array([0.0, 0.999])).tolist() == [5, 5]


def test_lengths_that_a_log_has_too_seldom_move_as_others_do_within_its_bounds():
    """A turn that steps up by two from 1 to 7 and down by one: too few steps for a rule of any one length."""
    lengths, accepted = np.array([1, 3, 5, 7, 6, 5]), np.array([1, 3, 5, 2, 2, 0])
    rule = LengthRule(gather([Turn("a", "task", None, lengths, accepted)]), 7)
    following = rule.following(np.array([3, 6, 1, 6]), np.array([3, 6, 0, 0]), np.full(4, 0.5))
    assert following.tolist() == [5, 7, 1, 5]


def test_both_sides_of_a_split_have_turns_of_every_task_and_the_seed_decides():
    turns = play(60)
    for split in ("random", "balanced"):
        out = held_out(turns, 0.5, 3, split)
        assert out.sum() == 30
        assert {turn.task for turn, is_out in zip(turns, out, strict=True) if is_out} == {"task0", "task1", "task2"}
        assert np.array_equal(out, held_out(turns, 0.5, 3, split))
        assert not np.array_equal(out, held_out(turns, 0.5, 4, split))
        assert held_out(turns, 0.2, 3, split).sum() == 12


def test_the_balanced_split_leaves_less_to_luck():
    turns = play(40)

    def apart(split):
        out = held_out(turns, 0.5, 0, split)
        sides = [measure(gather([t for t, o in zip(turns, out, strict=True) if o == side]), 5) for side in (0, 1)]
        return sum(value / TOLERANCE[name] for name, value in off(*sides).items())

    assert apart("balanced") < 0.5 * apart("random")


def test_the_process_fitted_to_one_half_meets_the_other():
    found = check(play(120), 0.5, seed=0)
    errors = off(found.simulated, found.measured)
    assert all(errors[name] <= tolerance for name, tolerance in TOLERANCE.items()), errors
    assert found.fitted_to.n_turns == found.measured.n_turns == 60
    assert found.measured_error.tokens_per_step > 0


def test_a_few_odd_turns_can_be_fitted():
    """Nothing accepted, everything accepted, one step, no draft: parameters stay finite."""
    ones = np.ones(30, dtype=np.int64)
    turns = [
        Turn("a", "", None, 4 * ones, 0 * ones),
        Turn("a", "", None, 4 * ones, 4 * ones),
        Turn("a", "", None, 4 * ones[:1], 2 * ones[:1]),
        Turn("a", "", None, 0 * ones, 0 * ones),
    ]
    found = fit(turns, seed=0)
    for values in (found.parameters.log_odds, found.parameters.levels, [found.simulated.spread]):
        assert np.all(np.isfinite(values))


def test_what_is_written_can_be_read_and_says_where_it_is_from(tmp_path):
    found = fit(play(30), seed=0)
    path = tmp_path / "mine.yaml"
    path.write_text(as_yaml("mine: a 'source'", found, "log.jsonl", "dsde_t1", 150), encoding="utf-8")
    read = load_section("acceptance", str(path))
    assert read.options.conditional == pytest.approx(1 / (1 + np.exp(-found.parameters.log_odds)), abs=1e-4)
    assert read.options.level.log_odds == pytest.approx(list(found.parameters.levels), abs=1e-3)
    assert read.options.signals.kld.correlation == 0
    notes = [source.note for source in read.sources if source.file == str(path)]
    assert len(notes) == 3
    assert all("30 turns" in note and "the first 150 of each turn" in note for note in notes)
