"""``papisim sweep`` as a user calls it."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.exploration.store import read_frame

SMALL = """\
schema: papisim/sweep/1
description: a few designs
base:
  hw: papi
  trace: llama7b
  set: {workload.lengths: {kind: fixed, input_tokens: 16, output_tokens: 4}}
space:
  batch: [1, 2]
  devices.fc_pim.count: [1, 30]
"""
LONG = """\
schema: papisim/sweep/1
description: points that take a while
base: {hw: papi, trace: llama7b, batch: 4}
space: {seed: {range: [0, 400], step: 1}}
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def call(*arguments: str):
    return CliRunner().invoke(papisim, ["sweep", *arguments, "--workers", "1"])


def test_the_table_says_what_was_found_and_why_points_are_refused(small, tmp_path):
    done = call(small, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert "4 points" in done.stdout
    assert "2 infeasible, 2 ok" in done.stdout
    assert "2 × the weights of llama7b do not fit into 'fc_pim'" in " ".join(done.stdout.split())
    assert f"wrote {tmp_path / 'out'}" in done.stderr


def test_a_constraint_that_many_points_miss_is_one_line(tmp_path):
    (tmp_path / "slow.yaml").write_text(
        SMALL.replace("[1, 30]", "[20, 30]") + "constraints: {slo: tpot_p99_s <= 1 us}\n"
    )
    said = call(str(tmp_path / "slow.yaml")).stdout
    assert "4 × tpot_p99_s <= 1 us" in said
    assert "found" not in said


def test_rows_go_to_stdout_in_the_form_asked_for(small):
    as_csv = list(csv.DictReader(io.StringIO(call(small, "--format", "csv", "--quiet").stdout)))
    as_json = json.loads(call(small, "--format", "json", "--quiet").stdout)
    assert [row["status"] for row in as_csv] == [row["status"] for row in as_json["rows"]]
    assert [int(row["batch"]) for row in as_csv] == [row["batch"] for row in as_json["rows"]] == [1, 1, 2, 2]
    assert as_json["schema"] == "papisim/sweep-frame/1"


def test_a_sweep_without_a_folder_leaves_nothing_behind(small, tmp_path, monkeypatch):
    (tmp_path / "temp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert call(small, "--quiet").exit_code == 0
    assert not list((tmp_path / "temp").iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        (["SMALL", "--resume"], "--resume needs --out"),
        (["SMALL", "--out", "TAKEN"], "is not empty"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(small, tmp_path, arguments, said):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    places = {"SMALL": small, "TAKEN": str(tmp_path / "taken")}
    done = call(*(places.get(word, word) for word in arguments))
    assert said in str(done.exception)
    assert (tmp_path / "taken" / "file").read_text() == "mine"


def test_an_interrupt_keeps_what_is_finished_and_the_sweep_goes_on(tmp_path):
    (tmp_path / "long.yaml").write_text(LONG)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "papisim", "sweep", "long.yaml", "--out", "out", "--workers", "2"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and _lines(out) < 3:
            time.sleep(0.05)
        os.kill(running.pid, signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 130, errors
    assert "--out out --resume continues" in errors
    assert "interrupted" in errors
    kept = _lines(out)
    assert kept >= 3
    done = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    rows, _ = read_frame(out)
    assert [row["seed"] for row in rows] == list(range(401))
    assert "reused" in done.stdout
    assert len(pd.read_parquet(out / "frame.parquet")) == 401


def _lines(out: Path) -> int:
    """Return how many rows are safe so far."""
    parts = out / "parts"
    journals = sum(path.read_bytes().count(b"\n") for path in parts.glob("*.jsonl")) if parts.is_dir() else 0
    return journals + (len(list(parts.glob("*.parquet"))) if parts.is_dir() else 0)
