"""Shares of attention and experts as a user asks for them."""

import json
import sys

import pytest

from papisim.cli import main

LENGTHS = "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 4}"


@pytest.fixture
def papisim(monkeypatch, capsys):
    """Return a function that runs a batch of 32 and returns status, output and errors."""

    def call(*arguments):
        options = ["--batch", "32", "--requests", "32", "--set", LENGTHS, "--quiet", *arguments]
        monkeypatch.setattr(sys, "argv", ["papisim", "run", *options])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return call


@pytest.mark.parametrize("trace", ["qwen3-30b-a3b", "gpt-oss-120b", "deepseek-v3"])
def test_a_server_of_eight_runs_mixtures_of_experts_as_deepseek_does(papisim, trace):
    status, out, err = papisim("--hw", "h200x8_ep", "--trace", trace, "--format", "json")
    assert status == 0, err
    figures = json.loads(out)
    plan = figures["parallel"]
    assert (plan["tensor_ranks"], plan["data_ranks"], plan["expert_ranks"]) == (1, 8, 8)
    assert 1 < plan["expert_imbalance_ratio"] < 3
    assert 0 < figures["busy_ratio"]["nvlink"] < figures["busy_ratio"]["gpu"]


def test_two_nodes_use_their_network(papisim):
    status, out, err = papisim("--hw", "h100x16_ep", "--trace", "qwen3-30b-a3b", "--format", "json")
    assert status == 0, err
    assert json.loads(out)["busy_ratio"]["infiniband"] > 0.2


def test_the_console_says_what_is_shared(papisim):
    shares = ["parallel.data_ranks=2", "parallel.context_ranks=2"]
    options = [word for share in shares for word in ("--set", share)]
    status, out, _ = papisim("--hw", "h200x8_ep", "--trace", "qwen3-30b-a3b", *options)
    said = " ".join(out.split())
    assert status == 0
    assert "4 ranks, 2 attention groups, caches split over 2 ranks, experts on 8 ranks" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hw", "papi", "--set", "parallel.expert_ranks=2"], "parallel.expert_ranks: not implemented where several devices"),
        (["--hw", "h200x8_ep", "--set", "parallel.data_ranks=3"], "found 3, expected a divisor of the 8 ranks"),
        (["--hw", "h200x8_ep", "--set", "parallel.data_rank=8"], "unknown field; did you mean 'data_ranks'?"),
        (["--hw", "h200x8_ep", "--engine", "eager"], "parallel.data_ranks 8, parallel.expert_ranks 8) is not modelled"),
    ],
)  # fmt: skip
def test_contradictions_end_with_status_2_and_a_field(papisim, options, message):
    status, out, err = papisim("--trace", "qwen3-30b-a3b", *options)
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())
