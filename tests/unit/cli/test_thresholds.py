"""``papisim calibrate operators``: what a user sees, and the map that is written."""

import pandas as pd
from click.testing import CliRunner

from papisim.cli.calibrate import command


def test_the_map_has_both_sides_of_each_operator_and_names_the_faster(tmp_path):
    file = tmp_path / "map.csv"
    found = CliRunner().invoke(command, ["operators", "--trace", "llama-68m", "--map", str(file)])
    assert found.exit_code == 0, found.output
    assert "attention" in found.output
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
