"""``papisim optimise`` as a user calls it."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from papisim.cli import papisim

pytest.importorskip("optuna", reason="needs the extra [sweep]")

FILE = """\
schema: papisim/sweep/1
description: the rate of a machine against its size
base:
  hw: papi
  trace: llama7b
  batch: 2
  set: {workload.lengths: {kind: fixed, input_tokens: 16, output_tokens: 4}}
space: {devices.fc_pim.count: {range: [2, 40]}, devices.attn_pim.count: {log_range: [1, 64]}}
optimise:
  objectives: {rate: {maximise: throughput_tokens_per_s}, devices: {minimise: n_devices}, energy: {minimise: energy_per_token_j}}
  population: 6
  trials: 12
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "size.yaml"
    path.write_text(FILE)
    return str(path)


def call(*arguments: str):
    return CliRunner().invoke(papisim, ["optimise", *arguments, "--workers", "1"])


def test_the_front_is_shown_written_and_drawn(file, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    out = tmp_path / "out"
    done = call(file, "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "designs that no other beats" in done.stdout
    assert "12 ok" in done.stdout
    names = {path.name for path in out.iterdir()}
    assert names == {"frame.parquet", "pareto.parquet", "pareto.png", "pareto.pdf", "study.journal", "manifest.json"}
    assert json.loads((out / "manifest.json").read_text())["kind"] == "optimise"


def test_the_front_goes_to_stdout_in_the_form_asked_for(file):
    as_csv = list(csv.DictReader(io.StringIO(call(file, "--format", "csv", "--quiet").stdout)))
    as_json = json.loads(call(file, "--format", "json", "--quiet").stdout)
    assert [float(row["rate"]) for row in as_csv] == [row["rate"] for row in as_json["rows"]]
    assert as_json["schema"] == "papisim/pareto-front/1"


def test_a_study_goes_on_for_more_trials(file, tmp_path):
    out = str(tmp_path / "out")
    assert call(file, "--out", out, "--trials", "6", "--quiet").exit_code == 0
    done = call(file, "--out", out, "--resume", "--trials", "9")
    assert "9 ok" in done.stdout
    assert "is not empty" in str(call(file, "--out", out).exception)


def test_an_objective_that_no_run_has_is_told_before_the_search(tmp_path):
    (tmp_path / "wrong.yaml").write_text(FILE.replace("energy_per_token_j", "energy_per_tokn_j"))
    error = str(call(str(tmp_path / "wrong.yaml"), "--out", str(tmp_path / "out")).exception)
    assert "wrong.yaml:10:" in error
    assert "did you mean 'energy_per_token_j'" in error
    assert not (tmp_path / "out").exists()
