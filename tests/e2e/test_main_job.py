"""The command line as a user calls it."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from papisim.cli import papisim


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(papisim, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def figures(*arguments: str) -> dict:
    return json.loads(call("run", *arguments, "--format", "json", "--quiet").stdout)


def test_the_literal_command_works_from_any_folder_and_says_which_file_it_used(tmp_path: Path):
    command = [sys.executable, "-m", "papisim", "run", "--hw", "configs/papi.yaml", "--trace", "llama7b"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "configs/papi.yaml does not exist; using the shipped papi" in done.stderr
    for label in ("throughput", "prefill, decode", "energy per token", "FC runs on", "busy", "peak KV cache"):
        assert label in done.stdout
    assert not list(tmp_path.iterdir()), "a run without --out writes nothing"


def test_a_run_on_a_shipped_trace_needs_neither_torch_nor_transformers(tmp_path: Path):
    for package in ("torch", "transformers"):
        (tmp_path / f"{package}.py").write_text("raise ImportError('blocked by the test')")
    command = [sys.executable, "-m", "papisim", "run", "--hw", "papi", "--trace", "llama7b", "--batch", "2"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_papi_starts_on_the_gpus_and_ends_on_fc_pim_where_rlp_crosses_alpha():
    papi = figures("--hw", "papi", "--trace", "llama65b", "--batch", "64")
    alpha = papi["placement"]["alpha"]
    (switch,) = papi["switches"]
    assert (switch["from"], switch["to"]) == ("gpu", "fc_pim")
    assert switch["rows"] <= alpha < 64
    assert papi["fc_flop_ratio"]["gpu"] > 0
    assert papi["fc_flop_ratio"]["fc_pim"] > 0


def test_papi_is_not_slower_than_either_pinned_mapping_and_within_two_percent_of_the_oracle():
    def decode_s(*placement: str) -> float:
        return figures("--hw", "papi", "--trace", "llama65b", "--batch", "64", *placement)["makespan_s"]

    papi = decode_s()
    assert papi <= decode_s("--placement", "pinned:gpu")
    assert papi <= decode_s("--placement", "pinned:fc_pim")
    assert papi <= 1.02 * decode_s("--placement", "cheapest")


def test_out_holds_tidy_frames_and_a_manifest_that_repeats_the_run(tmp_path: Path):
    out = tmp_path / "deep" / "results"
    call("run", "--hw", "papi", "--trace", "llama7b", "--batch", "4", "--tlp", "2", "--seed", "7", "--out", str(out))
    assert sorted(path.name for path in out.iterdir()) == [
        "devices.csv", "energy.csv", "kernels.csv", "manifest.json", "meaning.csv", "requests.csv", "runs.csv", "steps.csv", "summary.json",
    ]  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    manifest = json.loads((out / "manifest.json").read_text())
    steps = list(csv.DictReader((out / "steps.csv").open()))
    requests = list(csv.DictReader((out / "requests.csv").open()))
    energy = list(csv.DictReader((out / "energy.csv").open()))
    assert len(requests) == 4
    assert sum(int(row["tokens"]) for row in steps) == summary["n_output_tokens"]
    assert sum(float(row["energy_j"]) for row in energy) == pytest.approx(summary["energy_j"], rel=1e-9)
    assert sum(float(row["time_s"]) for row in steps) == pytest.approx(summary["makespan_s"], rel=1e-9)
    assert manifest["seed"] == 7
    assert manifest["experiment"]["system"]["devices"]["gpu"]["count"] == 6
    assert manifest["versions"]["simpy"]


def test_equal_runs_have_equal_hashes_and_other_runs_others(tmp_path: Path):
    def digest(name: str, *extra: str) -> str:
        call("run", "--hw", "gpu_only", "--trace", "llama7b", "--batch", "1", *extra, "--out", str(tmp_path / name))
        return json.loads((tmp_path / name / "manifest.json").read_text())["experiment_sha256"]

    assert digest("a") == digest("b")
    assert digest("a2") != digest("c", "--set", "devices.gpu.count=5")


def test_results_are_replaced_only_when_forced(tmp_path: Path):
    arguments = ("run", "--hw", "gpu_only", "--trace", "llama7b", "--batch", "1", "--out", str(tmp_path / "r"))
    call(*arguments)
    refused = subprocess.run(
        [sys.executable, "-m", "papisim", *arguments], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    call(*arguments, "--force", "--seed", "3")
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["seed"] == 3


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    command = ["run", "--hw", "gpu_only", "--trace", "llama7b", "--batch", "1", "--out", str(tmp_path), "--force"]
    done = subprocess.run([sys.executable, "-m", "papisim", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_compare_prints_ratios_to_the_first_machine():
    arguments = (
        "--hw",
        "papi",
        "--hw",
        "gpu_only",
        "--hw",
        "pim_only",
        "--trace",
        "llama7b",
        "--batch",
        "4",
        "--quiet",
    )
    comparison = json.loads(call("compare", *arguments, "--format", "json").stdout)
    rows = comparison["comparison"]
    assert [row["machine"] for row in rows] == ["papi", "gpu_only", "pim_only"]
    assert rows[0]["speed_up_ratio"] == rows[0]["energy_efficiency_ratio"] == 1
    first, second = comparison["runs"][:2]
    assert rows[1]["speed_up_ratio"] == pytest.approx(first["makespan_s"] / second["makespan_s"])
    table = call("compare", *arguments).stdout
    assert all(name in table for name in ("papi", "gpu_only", "pim_only", "speed-up"))
    as_csv = list(csv.DictReader(io.StringIO(call("compare", *arguments, "--format", "csv").stdout)))
    assert [row["machine"] for row in as_csv] == ["papi", "gpu_only", "pim_only"]


def test_compare_takes_placements_as_it_takes_machines():
    arguments = ("--hw", "papi", "--hw", "papi@pinned:gpu", "--trace", "llama7b", "--batch", "2", "--format", "json")
    runs = json.loads(call("compare", *arguments, "--quiet").stdout)["runs"]
    assert runs[0]["fc_flop_ratio"]["fc_pim"] == 1
    assert runs[1]["fc_flop_ratio"]["gpu"] == 1


@pytest.mark.parametrize("trace", ["llama7b", "llama65b"])
def test_the_shipped_alpha_is_the_one_that_calibration_finds(trace: str):
    found = json.loads(call("calibrate", "alpha", "--trace", trace, "--format", "json").stdout)
    shipped = figures("--hw", "papi", "--trace", trace, "--batch", "1")["placement"]["alpha"]
    assert found["models"][trace]["alpha"] == shipped


def test_setting_alpha_moves_the_switch():
    late = figures("--hw", "papi", "--trace", "llama65b", "--batch", "64", "--set", "placement.alpha=10")
    assert late["switches"][-1]["rows"] <= 10
    never = figures("--hw", "papi", "--trace", "llama65b", "--batch", "64", "--set", "placement.alpha=64")
    assert never["switches"] == []
    assert never["fc_flop_ratio"]["fc_pim"] == 1


def test_check_passes_everything_that_is_shipped():
    lines = call("check").stdout.splitlines()
    assert lines
    assert all(line.endswith(": right") for line in lines)


def test_list_names_what_can_be_named():
    listing = json.loads(call("list", "--format", "json").stdout)
    assert {"papi", "gpu_only", "pim_only", "attacc_only", "a100_attacc", "a100_hbmpim", "papi_pim_only"} <= set(
        listing["systems"]
    )
    assert "llama7b" in listing["traces"]
    assert "creative_writing" in listing["workloads"]
    assert "papi" in listing["kinds"]["placement policies"]
    assert "llama7b" in call("list").stdout


@pytest.mark.parametrize("command", ["run", "compare", "check", "list", "calibrate alpha", "capture", "price"])
def test_help_ends_with_an_example(command: str):
    text = call(*command.split(), "--help").stdout
    tail = text[text.index("Options:") :]
    assert "Example:" in tail
    assert f"papisim {command} " in tail
    assert "\\b" not in text


def test_the_summary_draws_what_is_in_flight_over_time():
    text = call("run", "--hw", "papi", "--trace", "llama7b", "--batch", "16", "--tlp", "2", "--quiet").stdout
    (rows,) = [line for line in text.splitlines() if line.startswith("RLP·TLP over time")]
    (tlp,) = [line for line in text.splitlines() if line.startswith("TLP over time")]
    assert "first 32, last 2, largest 32" in rows
    assert rows.split()[3].startswith("█")
    assert rows.split()[3].endswith("▁")
    assert set(tlp.split()[3]) == {"█"}
