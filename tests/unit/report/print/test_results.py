"""What a figure of results has on its axes."""

import math
from pathlib import Path

import pandas as pd
import pytest

from papisim.errors import InputError
from papisim.report.print.results import plot_of
from papisim.results.folder import read_results
from papisim.results.store import manifest_head, write_folder

USUAL = {"width": "column", "ratios": False, "log": False}
POINTS = pd.DataFrame({
    "status": "ok", "hw": ["a", "a", "b", "b"], "batch": [1, 4, 1, 4], "tpot_mean_s": [2e-3, 4e-3, 1e-3, math.nan], "reason": None,
})  # fmt: skip


def written(folder: Path, kind: str, more: dict, **frames: pd.DataFrame):
    write_folder(folder, {**manifest_head(kind), **more}, frames)
    return read_results(folder)


def test_a_sweep_has_a_line_per_machine_in_the_prefix_of_the_largest_value(tmp_path):
    swept = written(tmp_path / "s", "sweep", {"inputs": ["hw", "batch"]}, frame=POINTS)
    plot = plot_of(swept, None, "tpot_mean_s", None, **USUAL)
    assert (plot.kind, plot.x_label, plot.y_label) == ("lines", "batch", "tpot mean (ms)")
    assert plot.facets[0].lines == {"a": [2.0, 4.0], "b": [1.0, None]}
    ratio = plot_of(swept, "bars", "tpot_mean_s", None, **USUAL | {"ratios": True})
    assert ratio.facets[0].ratios["b"] == [2.0, None]
    assert ratio.y_label == "gain in tpot mean (×)"


def test_a_comparison_with_intervals_has_error_bars_in_the_unit_of_the_axis(tmp_path):
    compared = pd.DataFrame({"machine": ["a", "b"], "tpot_mean_s": [2e-3, 1e-3]})
    intervals = pd.DataFrame({"machine": ["b"], "figure": ["tpot_mean_s"], "low": [0.5e-3], "high": [3e-3]})
    plot = plot_of(written(tmp_path / "c", "comparison", {}, comparison=compared, uncertainty=intervals),
                   None, "tpot_mean_s", None, **USUAL)  # fmt: skip
    assert plot.facets[0].lines == {"all": [2.0, 1.0]}
    assert plot.errors == {"all": [None, (0.5, 3.0)]}


def test_energy_is_stacked_by_part_and_sums_to_that_of_the_machine(tmp_path):
    rows = [("a", "gpu", "static_j", 1.0), ("a", "pim", "static_j", 2.0), ("b", "gpu", "link_j", 3000.0)]
    energy = pd.DataFrame(rows, columns=["machine", "resource", "part", "energy_j"])
    plot = plot_of(written(tmp_path / "e", "comparison", {}, energy=energy), "energy", "x", None, **USUAL)
    assert plot.y_label == "energy (kJ)"
    assert plot.facets[0].lines == {"static": [0.003, 0.0], "link": [0.0, 3.0]}


def test_a_column_that_is_not_there_or_does_not_vary_is_refused(tmp_path):
    swept = written(tmp_path / "s", "sweep", {"inputs": ["hw", "batch"]}, frame=POINTS)
    with pytest.raises(InputError, match="no column 'tpot_means'; did you mean 'tpot_mean_s'"):
        plot_of(swept, None, "tpot_means", None, **USUAL)
    with pytest.raises(InputError, match="no input 'status' varies"):
        plot_of(swept, None, "tpot_mean_s", "status", **USUAL)
    with pytest.raises(InputError, match="no figure of results of kind 'run'"):
        plot_of(written(tmp_path / "r", "run", {}), None, "x", None, **USUAL)
