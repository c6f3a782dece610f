"""Against logs of real models: the published summary is reproduced, and fits meet turns they have not seen."""

import csv
import json
from collections import defaultdict

import numpy as np
import pytest
from click.testing import CliRunner

from papisim.acceptance import replay
from papisim.acceptance.base import ACCEPTANCE
from papisim.acceptance.fitting.holdout import TOLERANCE
from papisim.acceptance.fitting.statistics import hazards, measure
from papisim.acceptance.fitting.steps import gather
from papisim.acceptance.log import read_log
from papisim.catalog import Shelf, shipped
from papisim.cli import papisim
from papisim.config.sections import load_section

SMALL = ("dspark_chain7_qwen3_4b_T0", "dflash_chain7_qwen3_4b_T1")

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def log(data):
    return data("acceptance/spec_steps.jsonl.gz")


@pytest.fixture(scope="module")
def turns(log):
    return read_log(log)


@pytest.fixture(scope="module")
def fit(log):
    def go(*arguments):
        result = CliRunner().invoke(papisim, ["fit", "acceptance", str(log), "--format", "json", *arguments])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["sources"]

    return go


def test_our_statistics_are_those_of_the_published_summary(turns, data):
    """Spread and lag-1 autocorrelation as spec_steps_summary.csv defines them, to its last digit."""
    groups = defaultdict(list)
    for turn in turns:
        groups[turn.source, "ALL"].append(turn)
        groups[turn.source, turn.task].append(turn)
    with data("acceptance/spec_steps_summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 20
    for row in rows:
        steps = gather(groups[row["source"], row["task"]])
        found = measure(steps, 10)
        assert found.n_steps == int(row["steps"])
        assert found.n_turns == int(row["turns"])
        assert found.tokens_per_step == pytest.approx(float(row["tokens_per_step"]), abs=6e-5)
        assert found.spread == pytest.approx(float(row["turn_mean_std"]), abs=6e-5)
        assert found.lag1_autocorrelation == pytest.approx(float(row["lag1_autocorr"]), abs=6e-5)
        assert found.survival == pytest.approx([float(row[f"S{j}"]) for j in range(1, 11)], abs=6e-5)
        tried, accepted = hazards(steps, 10)
        for j in range(10):
            if row[f"c{j + 1}"]:
                assert accepted[j] / tried[j] == pytest.approx(float(row[f"c{j + 1}"]), abs=6e-5)


@pytest.mark.slow
def test_a_process_fitted_to_half_of_the_turns_reproduces_the_other_half(fit):
    found = fit("--holdout", "0.5", "--max-steps", "eagle2_chain6_llama3_8b=150")
    assert len(found) == 7
    for source, entry in found.items():
        measured, simulated = entry["measured"], entry["simulated"]
        mean = simulated["tokens_per_step"] / measured["tokens_per_step"] - 1
        spread = simulated["spread"] / measured["spread"] - 1
        lag1 = simulated["lag1_autocorrelation"] - measured["lag1_autocorrelation"]
        assert abs(mean) <= TOLERANCE["tokens_per_step"], source
        assert simulated["S_j"] == pytest.approx(measured["S_j"], abs=TOLERANCE["S_j"]), source
        assert abs(spread) <= TOLERANCE["spread"], source
        assert abs(lag1) <= TOLERANCE["lag1_autocorrelation"], source


@pytest.mark.parametrize("seed", ["0", "1"])
def test_on_a_random_half_a_fit_is_off_by_no_more_than_two_samples_differ(seed, fit):
    """The prediction proper: both halves are samples, each with its standard error; three of them bound the difference."""
    sources = [option for name in SMALL for option in ("--source", name)]
    for entry in fit("--holdout", "0.5", "--split", "random", "--seed", seed, *sources).values():
        error, difference, measured = entry["standard_error"], entry["difference"], entry["measured"]
        for name in ("tokens_per_step", "spread"):
            assert abs(difference[f"{name}_ratio"]) < 3 * np.sqrt(2) * error[name] / measured[name]
        assert abs(difference["lag1_autocorrelation"]) < 3 * np.sqrt(2) * error["lag1_autocorrelation"]


@pytest.mark.parametrize("source", SMALL)
def test_a_shipped_process_is_what_the_command_fits(source, fit):
    found = fit("--source", source)[source]["parameters"]
    options = load_section("acceptance", source).options
    assert options.conditional == pytest.approx(found["conditional"], abs=0.02)
    assert options.state.share == pytest.approx(found["state"]["share"], abs=0.05)


@pytest.mark.parametrize("source", SMALL)
def test_requests_of_a_shipped_process_decode_like_the_log(turns, source):
    """Stepped through request by request, with the answers' lengths of the log."""
    process = ACCEPTANCE.build(load_section("acceptance", source).options, 0)
    logged = [turn for turn in turns if turn.source == source]
    tokens = steps = 0
    for request in range(10 * len(logged)):
        sequence, left = process.start(request), logged[request % len(logged)].new_tokens
        while left > 0:
            outcome = sequence.round(7)
            left -= outcome.accepted + 1
            tokens, steps = tokens + outcome.accepted + 1, steps + 1
    assert tokens / steps == pytest.approx(measure(gather(logged), 1).tokens_per_step, rel=0.03)


def test_every_source_with_enough_steps_is_shipped(turns):
    steps = defaultdict(int)
    for turn in turns:
        steps[turn.source] += len(turn.accepted)
    assert {source for source, n in steps.items() if n >= 4000} <= set(shipped(Shelf.ACCEPTANCE))


def test_replay_reproduces_its_log_to_the_token(turns, log):
    source = SMALL[0]
    options = replay.Options(kind="replay", log=str(log), source=source, order="listed")
    process = replay.Acceptance(options, seed=0)
    for request, turn in enumerate(turn for turn in turns if turn.source == source):
        sequence = process.start(request)
        n = max(1, len(turn.accepted) - 1)
        assert [sequence.round(7).accepted for _ in range(n)] == turn.accepted[:n].tolist()
