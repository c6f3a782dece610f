"""``papisim calibrate operators``: what a user sees, and the map that is written."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from papisim.calibration import operators
from papisim.cli.calibrate import command
from papisim.config.experiment import RunOptions, load_experiment
from papisim.config.system import load_system


@pytest.fixture
def small_grid(monkeypatch):
    """A grid of few points, for speed."""
    for name, values in {"TLPS": (1, 4), "CONTEXTS": (512, 8192), "BATCHES": (1, 8, 64), "_MOST_ROWS": 64}.items():
        monkeypatch.setattr(operators, name, values)


def test_the_map_has_both_sides_of_each_operator_and_names_the_faster(tmp_path, small_grid):
    file = tmp_path / "map.csv"
    out = tmp_path / "machine.yaml"
    asked = ["operators", "--trace", "llama-68m", "--map", str(file), "--out", str(out), "--format", "json"]
    found = CliRunner().invoke(command, asked)
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    (model,) = document["models"]
    assert set(model["thresholds"]) == {"fc", "attention"}
    calibrated = load_system(str(out)).placement.calibrated
    assert calibrated.stamps == {"llama-68m": model["stamp"]}
    (tuning,) = load_experiment(RunOptions(hw=str(out), trace="llama-68m")).tunings
    assert tuning.origin == "calibrated for this machine"
    rows = pd.read_csv(file)
    assert set(rows["operator"]) == {"fc", "attention"}
    on_units = rows["processing_unit_s"] < rows["pim_s"]
    assert (rows["faster"] == rows["processing_unit"].where(on_units, rows["pim"])).all()
    assert (rows[rows["operator"] == "fc"]["intensity"] == rows[rows["operator"] == "fc"]["rlp"]).all()


def test_a_machine_whose_operators_have_one_device_each_is_refused():
    found = CliRunner().invoke(command, ["operators", "--hw", "gpu_only", "--trace", "llama-68m"])
    assert found.exit_code != 0


def test_alpha_says_which_command_finds_thresholds_by_operator():
    found = CliRunner().invoke(command, ["alpha", "--hw", "papi_attached", "--trace", "llama-68m"])
    assert "papisim calibrate operators" in str(found.output) + str(found.exception)
