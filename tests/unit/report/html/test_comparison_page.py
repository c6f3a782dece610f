import numpy as np
import pandas as pd
import pytest

from papisim.report.html.charts.crossover import fastest
from papisim.report.html.folder import page_of
from papisim.report.html.page import Chart
from papisim.report.html.pages.comparison import baselines_of


def charts(page) -> dict[str, Chart]:
    return {item.title: item for section in page.sections for item in section.items if isinstance(item, Chart)}


def test_the_baselines_are_the_first_run_and_the_machines_without_pim_and_without_gpus(compared):
    assert baselines_of(compared.manifest["runs"]) == {
        "papi": "papi",
        "gpu_only": "GPU-only (gpu_only)",
        "pim_only": "PIM-only (pim_only)",
    }


def test_bars_are_the_baselines_time_over_ones_own(compared):
    table = charts(page_of(compared))["Speed-up"].table.set_index("machine")
    seconds = compared.frame("runs").set_index("machine")["makespan_s"]
    for label in ("papi", "pim_only"):
        ratio = table.loc[label, "over GPU-only (gpu_only)_ratio"]
        assert ratio == pytest.approx(seconds["gpu_only"] / seconds[label])
    assert table.loc["gpu_only", "over GPU-only (gpu_only)_ratio"] == 1


def test_the_map_has_the_machine_with_the_shortest_step_at_every_point(compared):
    rows = compared.frame("crossover")
    best = fastest(rows)
    assert len(best) == rows.groupby(["batch", "tlp"]).ngroups
    for point in best.to_dict("records"):
        here = rows[(rows["batch"] == point["batch"]) & (rows["tlp"] == point["tlp"])].set_index("machine")["step_s"]
        assert here[point["winner"]] == here.min()
        assert point["lead"] == pytest.approx(np.sort(here)[1] / here.min())


def test_a_machine_whose_caches_do_not_fit_is_not_the_fastest():
    rows = pd.DataFrame(
        [
            {"machine": "small", "batch": 8, "tlp": 1, "step_s": None, "fc_device": None},
            {"machine": "large", "batch": 8, "tlp": 1, "step_s": 2.0, "fc_device": "gpu"},
        ]
    )
    (point,) = fastest(rows).to_dict("records")
    assert point["winner"] == "large"
    assert np.isnan(point["lead"])
