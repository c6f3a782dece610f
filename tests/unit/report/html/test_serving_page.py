"""Pages of machines that serve requests as they arrive: gaps, prompts beside decoding, several servers."""

import json

import numpy as np
import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.pricing.frames import run_frames
from papisim.report.html.folder import page_of
from papisim.report.html.page import Chart
from papisim.results.folder import read_results
from papisim.results.store import write_run


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Results of two servers that are idle now and then."""
    options = RunOptions(hw="papi", trace="llama7b", workload="azure_conversation", requests=30, batch=8, replicas=2)
    folder = tmp_path_factory.mktemp("served") / "r"
    run = simulate(load_experiment(options))
    write_run(run, run_frames(run), folder)
    return read_results(folder)


@pytest.fixture(scope="module")
def charts(served) -> dict[str, Chart]:
    return {
        item.title: item for section in page_of(served).sections for item in section.items if isinstance(item, Chart)
    }


def mean_of_stack(chart: Chart) -> float:
    return float(sum(np.mean(trace["y"]) for trace in chart.figure["data"]))


def test_the_mean_of_the_power_drawn_is_the_energy_of_the_run_over_its_time(served, charts):
    summary, steps = served.summary, served.frame("steps")
    assert steps["time_s"].sum() < 2 * summary["makespan_s"], (
        "there are gaps, in which static power is drawn all the same"
    )
    assert mean_of_stack(charts["Power over time"]) == pytest.approx(
        summary["energy_j"] / summary["makespan_s"], rel=1e-3
    )


def test_shares_of_busy_time_are_of_all_servers_together(served, charts):
    (heat,) = charts["Devices over time"].figure["data"]
    assert np.max(heat["z"]) <= 1 + 1e-9
    for name, shares in zip(heat["y"], heat["z"], strict=True):
        assert np.mean(shares) == pytest.approx(served.summary["busy_ratio"][name], rel=1e-3)


def test_every_server_has_its_own_iterations_and_its_own_caches(charts):
    assert sum(title.startswith("RLP, TLP and RLP·TLP") for title in charts) == 2
    assert len(charts["KV cache"].figure["data"]) == 2


def test_iterations_with_prompts_are_points_and_do_not_hide_the_line_of_those_without(served, charts):
    steps = served.frame("steps")
    assert (steps["kind"] == "mixed").any()
    first = next(chart for title, chart in charts.items() if title.startswith("RLP, TLP"))
    traces = {trace["name"]: trace for trace in first.figure["data"]}
    assert traces["token-rows with prompts"]["mode"] == "markers"
    assert max(traces["RLP·TLP"]["y"]) <= 8 < max(traces["token-rows with prompts"]["y"])


def test_a_figure_stays_small_however_many_steps_there_are(charts):
    assert max(len(chart.json) for chart in charts.values()) < 150_000
    assert all(json.loads(chart.json) for chart in charts.values())
