from pathlib import Path

import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.pricing.frames import comparison_frames, run_frames
from papisim.results.comparison import Comparison
from papisim.results.folder import Results, read_results
from papisim.results.store import write_run


@pytest.fixture(scope="session")
def papi_results(tmp_path_factory) -> Results:
    """Results of a small run whose placement changes on the way."""
    folder: Path = tmp_path_factory.mktemp("results") / "papi"
    options = RunOptions(hw="papi", trace="llama7b", batch=48, tlp=2)
    run = simulate(load_experiment(options))
    write_run(run, run_frames(run), folder)
    return read_results(folder)


@pytest.fixture(scope="session")
def compared(tmp_path_factory) -> Results:
    """Results of a comparison with a GPU-only and a PIM-only machine."""
    folder: Path = tmp_path_factory.mktemp("results") / "compared"
    labels = ("papi", "gpu_only", "pim_only")
    options = (RunOptions(hw=label, trace="llama7b", batch=4) for label in labels)
    comparison = Comparison(labels, tuple(simulate(load_experiment(each)) for each in options))
    comparison.write(comparison_frames(comparison), folder)
    return read_results(folder)


SPACE = """
schema: papisim/sweep/1
description: Stacks and batch
base: {hw: papi, trace: llama7b}
space:
  placement: [papi, "pinned:gpu"]
  devices.fc_pim.count: [12, 24]
  batch: [1, 2]
constraints: {slo: tpot_mean_s <= 2 ms}
"""


@pytest.fixture(scope="session")
def swept(tmp_path_factory) -> Results:
    """Results of a sweep of eight points, some of which break a constraint."""
    folder: Path = tmp_path_factory.mktemp("results")
    (folder / "space.yaml").write_text(SPACE)
    command(str(folder / "space.yaml"), "--out", str(folder / "swept"), "--frame", "csv", "--quiet", name="sweep")
    return read_results(folder / "swept")


@pytest.fixture(scope="session")
def searched(tmp_path_factory) -> Results:
    """Results of a search among the same points."""
    pytest.importorskip("optuna")
    folder: Path = tmp_path_factory.mktemp("results")
    objectives = "{rate: {maximise: throughput_tokens_per_s}, energy: {minimise: energy_per_token_j}}"
    (folder / "space.yaml").write_text(
        f"{SPACE}optimise: {{objectives: {objectives}, sampler: random, trials: 12, seed: 1}}\n"
    )
    command(str(folder / "space.yaml"), "--out", str(folder / "best"), "--frame", "csv", "--quiet", name="optimise")
    return read_results(folder / "best")


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory) -> Results:
    """Results of a reproduced figure that takes no run."""
    folder: Path = tmp_path_factory.mktemp("results") / "reproduced"
    command("fig6", "--out", str(folder), "--quiet", name="reproduce")
    return read_results(folder)


def command(*arguments: str, name: str) -> None:
    done = CliRunner().invoke(papisim, [name, *arguments])
    assert done.exit_code == 0, done.output
