"""``papisim workload inspect`` as a user calls it."""

import json

import pytest
from click.testing import CliRunner

from papisim import catalog
from papisim.catalog import Shelf
from papisim.cli import papisim
from papisim.errors import PapisimError


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "burst.csv"
    rows = "".join(f"{5 * i},GPT-{3 + i % 2},{100 + i},{i % 7}\n" for i in range(70))
    path.write_text(f"Timestamp,Model,Request tokens,Response tokens\n{rows}")
    return str(path)


def call(*arguments):
    return CliRunner().invoke(papisim, ["workload", "inspect", *arguments])


def test_a_trace_is_described_and_its_format_and_what_is_left_out_are_told(trace):
    done = call(trace)
    assert done.exit_code == 0, done.output
    assert "burst · replay · burstgpt" in done.stdout
    assert "60, 10 without input or output tokens left out" in done.stdout
    assert "burstgpt format, 60 requests, 10 more without input or output tokens left out" in done.stderr
    assert "▁" in done.stdout or "█" in done.stdout


def test_figures_carry_their_units_and_the_schema_its_version(trace):
    figures = json.loads(call(trace, "--format", "json", "--quiet").stdout)
    assert figures["schema"] == "papisim/workload/1"
    assert (figures["n_requests"], figures["dropped"]) == (60, {"without input or output tokens": 10})
    assert figures["arrivals"]["duration_s"] == 5 * 68 - 0
    assert figures["arrivals"]["rate_per_s"] == pytest.approx(59 / 340)


def test_any_field_of_a_replay_can_be_set(trace):
    options = [
        "--set",
        "workload.where={Model: GPT-4}",
        "--set",
        "workload.zero_tokens=one",
        "--set",
        "workload.rate_scale=10",
    ]
    figures = json.loads(call(trace, "--format", "json", *options).stdout)
    assert figures["n_requests"] == 35
    assert figures["arrivals"]["duration_s"] == pytest.approx(34)
    with pytest.raises(PapisimError, match="unknown field; did you mean 'rate_scale'"):
        raise call(trace, "--set", "workload.rate_skale=2").exception


def test_longer_stays_put_more_requests_side_by_side(trace):
    at_once = [
        json.loads(call(trace, "--format", "json", "--tpot-ms", tpot).stdout)["arrivals"]["peak_concurrency"]
        for tpot in ("1", "5000", "50000")
    ]
    assert at_once[0] == 1
    assert at_once == sorted(set(at_once))


@pytest.mark.parametrize("name", catalog.shipped(Shelf.REQUESTS))
def test_every_shipped_workload_can_be_looked_into(name):
    assert call(name).exit_code == 0


def test_text_is_described_once_there_is_a_way_to_count_its_tokens(tmp_path):
    path = tmp_path / "sharegpt.json"
    path.write_text(
        json.dumps([{"conversations": [{"from": "human", "value": "abcd"}, {"from": "gpt", "value": "ab"}]}])
    )
    assert "chars_per_token" in str(call(str(path)).exception)
    assert "do not vary together" in call(str(path), "--set", "workload.chars_per_token=2").stdout
