import json
from pathlib import Path

import pandas as pd
import pytest

from papisim.results.comparison import Comparison, distinct


def test_equal_labels_are_told_apart():
    assert distinct(["papi", "gpu", "papi", "papi"]) == ("papi", "gpu", "papi (2)", "papi (3)")


def test_a_folder_of_a_comparison_has_every_runs_rows_and_origin(run, tmp_path: Path):
    comparison = Comparison(("papi", "gpu"), (run(hw="papi", batch_size=3), run(hw="gpu_only", batch_size=3)))
    comparison.write(comparison.frames, tmp_path / "c")
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert manifest["kind"] == "comparison"
    assert [each["machine"] for each in manifest["runs"]] == ["papi", "gpu"]
    requests = pd.read_csv(tmp_path / "c" / "requests.csv")
    assert requests.groupby("machine").size().to_dict() == {"papi": 3, "gpu": 3}
    energy = pd.read_csv(tmp_path / "c" / "energy.csv").groupby("machine")["energy_j"].sum()
    for label, summary in zip(comparison.labels, comparison.summaries, strict=True):
        assert energy[label] == pytest.approx(summary["energy_j"])
