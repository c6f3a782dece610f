"""What the results of a finished run take to be summed up, printed, and put into frames."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.report.console.run import print_run
from papisim.results.frames import frames
from papisim.results.metrics import summarise

pytestmark = [pytest.mark.bench, pytest.mark.benchmark(group="report")]


@pytest.fixture(scope="module")
def run():
    return simulate(load_experiment(RunOptions(hw="papi", trace="llama7b")))


def test_the_summary(benchmark, run):
    benchmark.pedantic(summarise, (run,), rounds=10, warmup_rounds=1)


def test_the_page_of_text(benchmark, run, capsys):
    benchmark.pedantic(print_run, (run,), rounds=10, warmup_rounds=1)
    assert "throughput" in capsys.readouterr().out


def test_the_frames(benchmark, run):
    benchmark.pedantic(frames, (run,), rounds=5, warmup_rounds=1)
