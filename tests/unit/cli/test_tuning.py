"""A given α is marked in whatever a command prints; a shipped name behind ``configs/`` is noted by every command."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.report.html.folder import page_of
from papisim.results.folder import read_results

SMALL = ["--trace", "llama-68m", "--batch", "1", "--set", "workload.lengths={kind: listed, pairs: [[8, 4]]}"]
GIVEN = ["--set", "placement.alpha=20"]
SAID = "placement.alpha 20 is given, not calibrated for this machine and model: calibrated it is 241"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("PAPISIM_CACHE", str(tmp_path_factory.mktemp("cache")))


def call(*arguments):
    done = CliRunner().invoke(papisim, list(arguments), env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    return done


def test_a_run_with_a_given_alpha_says_so_on_both_streams_in_json_and_on_its_page(tmp_path):
    done = call("run", "--hw", "papi", *SMALL, *GIVEN, "--out", str(tmp_path / "out"))
    assert SAID in done.stdout
    assert SAID in done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["tuned"]["placement.alpha"]["origin"] == "given"
    assert SAID in summary["tuned"]["placement.alpha"]["note"]
    assert SAID in page_of(read_results(tmp_path / "out")).html()


def test_a_comparison_with_a_given_alpha_says_so_in_its_table_and_its_csv():
    machines = ["compare", "--hw", "papi", "--hw", "papi", *SMALL, *GIVEN]
    assert SAID in call(*machines).stdout
    assert SAID in call(*machines, "--format", "csv").stdout


def test_every_point_of_a_sweep_has_the_alpha_of_its_design(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "schema: papisim/sweep/1\ndescription: d\nbase: {hw: papi, trace: llama-68m, batch: 1, set: "
        "{workload.lengths: {kind: listed, pairs: [[8, 4]]}}}\nspace: {devices.fc_pim.count: [15, 30]}\n"
    )
    call("sweep", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out"), "--frame", "csv", "--workers", "1")
    frame = pd.read_csv(tmp_path / "out" / "frame.csv").sort_values("devices.fc_pim.count")
    few, shipped = frame["tuned.placement.alpha.value"]
    assert few < shipped == 241
    assert list(frame["tuned.placement.alpha.origin"]) == ["calibrated on the fly", "calibrated for this machine"]


@pytest.mark.parametrize("command", ["run", "compare", "explain"])
def test_a_shipped_name_behind_configs_is_noted_though_quiet(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "using the shipped papi" in call(command, "--hw", "configs/papi.yaml", *SMALL, "--quiet").stderr


def test_calibration_notes_a_shipped_name_behind_configs_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call("calibrate", "alpha", "--hw", "configs/papi.yaml", "--trace", "llama-68m", "--max-rows", "2")
    assert "using the shipped papi" in done.stderr
