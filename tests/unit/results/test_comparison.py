import json
from pathlib import Path

import pandas as pd
import pytest

from papisim.results.comparison import Comparison, distinct, label_of, ratios, split_placement


def summary(**figures):
    return {
        "throughput_tokens_per_s": 100.0, "makespan_s": 10.0, "prefill_s": 2.0, "decode_s": 8.0, "tpot_mean_s": 0.1,
        "energy_per_token_j": 3.0, "energy_j": 600.0, "n_output_tokens": 200, "outcomes": {"served": 4}, "tuned": {}, "outside_fit_time_ratio": 0.0,
        **figures,
    }  # fmt: skip


def test_ratios_above_one_are_better_than_the_first():
    first, other = ratios(("a", "b"), [summary(), summary(makespan_s=4.0, decode_s=2.0, energy_j=1200.0)])
    assert (first["speed_up_ratio"], first["decode_speed_up_ratio"], first["energy_efficiency_ratio"]) == (1, 1, 1)
    assert (other["speed_up_ratio"], other["decode_speed_up_ratio"], other["energy_efficiency_ratio"]) == (
        2.5,
        4,
        0.5,
    )
    assert (other["machine"], other["prefill_s"], other["decode_s"]) == ("b", 2.0, 2.0)


def test_a_run_that_never_decodes_alone_has_no_ratio_of_decoding():
    _, other = ratios(("a", "b"), [summary(), summary(decode_s=0.0, tpot_mean_s=None)])
    assert other["decode_speed_up_ratio"] is other["tpot_mean_s"] is None


@pytest.mark.parametrize(
    ("machine", "hw", "placement"),
    [
        ("papi", "papi", None),
        ("papi@pinned:gpu", "papi", "pinned:gpu"),
        ("my/papi.yaml@cheapest", "my/papi.yaml", "cheapest"),
    ],
)
def test_a_machine_may_name_its_placement(machine, hw, placement):
    assert split_placement(machine) == (hw, placement)


def test_a_label_names_the_policy_without_its_folder():
    assert label_of("papi", None) == "papi"
    assert label_of("papi", "my/dsde.yaml") == "papi + dsde"


def test_frames_name_the_run_of_every_row(run):
    comparison = Comparison(("papi", "gpu"), (run(hw="papi", batch=3), run(hw="gpu_only", batch=3)))
    tables = comparison.frames
    assert list(tables["comparison"].machine) == list(tables["runs"].machine) == ["papi", "gpu"]
    for label, summary in zip(comparison.labels, comparison.summaries, strict=True):
        rows = tables["energy"][tables["energy"].machine == label]
        assert rows.energy_j.sum() == pytest.approx(summary["energy_j"])
    assert set(tables["runs"].system) == {"papi", "gpu_only"}


def test_equal_labels_are_told_apart():
    assert distinct(["papi", "gpu", "papi", "papi"]) == ("papi", "gpu", "papi (2)", "papi (3)")


def test_a_folder_of_a_comparison_has_every_runs_rows_and_origin(run, tmp_path: Path):
    comparison = Comparison(("papi", "gpu"), (run(hw="papi", batch=3), run(hw="gpu_only", batch=3)))
    comparison.write(comparison.frames, tmp_path / "c")
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert manifest["kind"] == "comparison"
    assert [each["machine"] for each in manifest["runs"]] == ["papi", "gpu"]
    requests = pd.read_csv(tmp_path / "c" / "requests.csv")
    assert requests.groupby("machine").size().to_dict() == {"papi": 3, "gpu": 3}
    energy = pd.read_csv(tmp_path / "c" / "energy.csv").groupby("machine")["energy_j"].sum()
    for label, summary in zip(comparison.labels, comparison.summaries, strict=True):
        assert energy[label] == pytest.approx(summary["energy_j"])
