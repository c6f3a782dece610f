"""Real traces are served on every machine, and nothing is lost on the way."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import papisim
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate

SCRIPT = Path(papisim.__file__).parents[1] / "scripts" / "serve-traces"
MACHINES = ("papi", "a100_attacc", "gpu_only")


def serve(folder, *arguments):
    """Call the script as a user does; it ends with an error if a token is lost."""
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, "--format", "json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def script():
    """Return the script as a module."""
    loader = importlib.machinery.SourceFileLoader("serve_traces", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("serve_traces", loader))
    sys.modules["serve_traces"] = module  # its dataclass looks itself up
    loader.exec_module(module)
    return module


@pytest.mark.shared_data
@pytest.mark.slow
def test_every_trace_is_served_on_every_machine_and_every_token_accounted_for(data, script):
    rows = serve(data("requests"), "--requests", "60")
    assert [(row["trace"], row["hw"]) for row in rows] == [(trace, hw) for trace in script.TRACES for hw in MACHINES]
    for row in rows:
        assert row["n_requests"] == 60
        assert 0 < row["ttft_p50_s"] <= row["ttft_p99_s"]
        assert 0 < row["tpot_p50_s"] <= row["tpot_p99_s"]
        assert 0 <= row["met_ratio"] <= 1
        assert row["goodput_per_s"] <= row["offered_per_s"] * 60 / 59
        assert row["energy_per_token_j"] > 0


@pytest.mark.shared_data
def test_requests_wait_longer_when_they_come_faster(data):
    waits = [
        serve(
            data("requests"), "--trace", "Azure code", "--hw", "gpu_only", "--requests", "100", "--rate-scale", scale
        )[0]
        for scale in ("0.25", "1", "20")
    ]
    assert [row["ttft_p99_s"] for row in waits] == sorted(row["ttft_p99_s"] for row in waits)
    assert waits[0]["met_ratio"] >= waits[-1]["met_ratio"]


@pytest.fixture
def run():
    lengths = "{kind: fixed, input_tokens: 50, output_tokens: 5}"
    workload = f"workload={{kind: poisson, rate_per_s: 50, n_requests: 8, lengths: {lengths}}}"
    return simulate(load_experiment(RunOptions(hw="gpu_only", trace="llama7b", set=[workload])))


def test_a_run_that_loses_nothing_passes_the_check(script, run):
    script.check_conservation(run)


@pytest.mark.parametrize("loss", ["token of a request", "token of a step", "prompt token", "request"])
def test_whatever_is_lost_is_noticed(script, run, loss):
    row, totals = run.ledger.requests[3], next(kind for kind in run.ledger.totals.values() if kind.prompt_tokens)
    if loss == "token of a request":
        run.ledger._records[3] = replace(row, emitted_tokens=row.emitted_tokens - 1)
    elif loss == "token of a step":
        totals.tokens -= 1
    elif loss == "prompt token":
        totals.prompt_tokens -= 1
    else:
        run.ledger._records[3] = replace(row, outcome=None)
    with pytest.raises(SystemExit, match="not conserved"):
        script.check_conservation(run)
