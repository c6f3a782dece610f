"""``papisim validate --serving`` as a user calls it: on rows whose truth is known, since papisim made them."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import papisim
from papisim.cli import papisim as command

CLIENT = {
    "kind": "closed_loop",
    "n_users": 2,
    "n_requests": 20,
    "think_time": {"mean_s": 3e-3, "cv": 0},
    "lengths": {"kind": "uniform", "input_tokens": 60, "output_tokens": 12, "min_ratio": 0.8},
}
ROW = {
    "source_row": 1, "model": "meta-llama/Llama-3.1-8B", "gpu": "h200", "tp": 2, "pp": 1, "dp": 1, "ep": 1, "backend": "vllm",
    "version": "", "suite": "s", "weight_bits": 16, "kv_bits": "", "isl": 60, "osl": 12, "range_ratio": 0.8, "concurrency": 2,
    "ttft_s": 1.0, "tpot_s": 1.0, "kv_need_ratio": "", "queued": False, "reentered": False, "suspect": "",
}  # fmt: skip


def call(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(command, ["validate", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture(scope="module")
def truth() -> dict[str, float]:
    """TTFT and TPOT of the row, from a run that is put together by hand."""
    machine = papisim.load("h200_single", set={"devices.gpu.count": 2, "links.nvlink.count": 2})
    policy = {"kind": "chunked_prefill", "max_batch": 2, "chunk_tokens": 8192}
    summary = papisim.run(machine, "llama3-8b", workload=CLIENT, batching=policy).summary  # type: ignore[arg-type]
    return {"ttft_s": summary["ttft_mean_s"], "tpot_s": summary["tpot_mean_s"]}


@pytest.fixture
def table(tmp_path: Path, truth: dict[str, float]) -> Path:
    """A true row, one that was a quarter slower, and two that cannot be simulated."""
    rows = [
        ROW | truth,
        ROW | {"source_row": 2, "backend": "sglang", **{name: 1.25 * value for name, value in truth.items()}},
        ROW | {"source_row": 3, "gpu": "b300"},
        ROW | {"source_row": 4, "model": "meta-llama/Llama-3.1-70B", "tp": 1},
    ]
    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, ROW)
        writer.writeheader()
        writer.writerows(rows)
    return file


def test_rows_that_papisim_made_have_no_error_and_others_theirs(table: Path, tmp_path: Path):
    out = tmp_path / "out"
    asked = ("--serving", table, "--without-engines", "--workers", 1, "--out", out)
    found = json.loads(call(*asked, "--format", "json").stdout)
    by_engine = {each["engine"]: each for each in found["errors"] if each["tp"] == 2}
    assert by_engine["vllm"]["tpot"]["mape"] == pytest.approx(0, abs=1e-9)
    assert by_engine["vllm"]["ttft"]["mape"] == pytest.approx(0, abs=1e-9)
    assert by_engine["sglang"]["tpot"]["bias"] == pytest.approx(1 / 1.25 - 1)
    assert by_engine["sglang"]["throughput"]["bias"] == pytest.approx(1.25 - 1)
    reasons = {each["reason"]: each["n"] for each in found["not_simulated"]}
    assert reasons.pop("no machine of b300") == 1
    (too_large,) = reasons
    assert "does not fit" in too_large or "do not fit" in too_large
    with (out / "serving.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["source_row"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[0]["predicted_tpot_s"]) == pytest.approx(float(rows[0]["tpot_s"]))
    again = call(*asked, "--resume")
    assert json.loads((out / "sweep" / "manifest.json").read_text())["rows"]["reused"] == 2
    assert "no machine of b300" in again.stdout


def test_a_field_of_all_rows_may_be_changed(table: Path):
    slower = (
        "--serving",
        table,
        "--without-engines",
        "--workers",
        1,
        "--format",
        "json",
        "--set",
        "devices.gpu.part=h100",
    )
    found = json.loads(call(*slower).stdout)
    assert next(each for each in found["errors"] if each["engine"] == "vllm")["tpot"]["bias"] > 0.1


def test_rows_run_with_the_profiles_of_their_engines_unless_told_otherwise(table: Path):
    """Two engines schedule and launch differently, so that the same client sees different times."""
    found = json.loads(call("--serving", table, "--workers", 1, "--format", "json").stdout)
    assert found["engines"]
    by_engine = {each["engine"]: each["tpot"]["bias"] for each in found["errors"] if each["tp"] == 2}
    assert abs(by_engine["vllm"]) > 0.02, "merged kernels, graphs and a host change the time of steps"
    assert by_engine["sglang"] != pytest.approx((1 + by_engine["vllm"]) / 1.25 - 1, rel=1e-6)


def test_options_of_serving_rates_mean_nothing_without_them(tmp_path: Path):
    assert "--rows has a meaning with --serving alone" in call("--rows", 3, status=2).output
    assert "--set has a meaning with --serving alone" in call("--set", "seed=3", status=2).output
    missing = tmp_path / "none.csv"
    assert "does not exist" in call("--serving", missing, status=2).output
