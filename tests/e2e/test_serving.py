"""Serving as a user calls it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from papisim.cli import papisim
from papisim.config.experiment import RunOptions, load_experiment
from papisim.errors import InputError

BURST = "workload={kind: poisson, n_requests: 20, rate_per_s: 40, lengths: {kind: fixed, input_tokens: 200, output_tokens: 20}}"


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(papisim, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def figures(*arguments: str) -> dict:
    command = ["run", "--hw", "gpu_only", "--trace", "llama7b", "--format", "json", "--quiet", *arguments]
    return json.loads(call(*command).stdout)


@pytest.mark.parametrize("batching", ["continuous", "chunked_prefill", "prefill_priority", "dynamic"])
def test_each_shipped_policy_serves_arrivals(batching: str):
    summary = figures("--set", BURST, "--batching", batching)
    assert summary["batching"]["kind"] == batching
    assert summary["outcomes"] == {"served": 20, "refused": 0, "failed": 0, "timed_out": 0}
    assert summary["n_output_tokens"] == 400


def test_requests_that_arrive_over_time_are_served_with_chunked_prefill_unless_told_otherwise():
    assert figures("--set", BURST)["batching"] == {
        "kind": "chunked_prefill", "max_batch": 128, "slo_tpot_s": None, "chunk_tokens": 512,
    }  # fmt: skip
    assert figures()["batching"]["kind"] == "static"
    assert figures("--set", BURST, "--batch", "4")["batching"]["max_batch"] == 4


def test_options_of_policy_and_cache_can_be_set():
    summary = figures("--set", BURST, "--set", "batching.chunk_tokens=64", "--set", "kv.page_tokens=32")
    assert summary["batching"]["chunk_tokens"] == 64
    assert summary["kv"]["page_tokens"] == 32


def test_fast_forward_off_gives_the_same_figures():
    fast, slow = (figures("--set", BURST, "--fast-forward", switch) for switch in ("on", "off"))
    assert fast["ttft_p99_s"] == pytest.approx(slow["ttft_p99_s"], rel=1e-9)
    assert fast["energy_j"] == pytest.approx(slow["energy_j"], rel=1e-9)


def test_a_misspelt_policy_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'continuous'"):
        load_experiment(RunOptions(hw="papi", trace="llama7b", batching="continous"))


def test_streaming_writes_what_it_has_and_compares(tmp_path: Path):
    pytest.importorskip("ddsketch")
    out = tmp_path / "run"
    figures("--set", BURST, "--metrics", "streaming", "--out", str(out))
    written = {path.name for path in out.iterdir()}
    assert {"summary.json", "runs.csv", "energy.csv", "manifest.json"} <= written
    assert written.isdisjoint({"requests.csv", "steps.csv"})
    both = ["--hw", "papi", "--hw", "gpu_only", "--trace", "llama7b", "--set", BURST, "--metrics", "streaming"]
    call("compare", *both, "--out", str(tmp_path / "compared"), "--quiet")
    assert not (tmp_path / "compared" / "requests.csv").exists()
