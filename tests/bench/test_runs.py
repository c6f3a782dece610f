"""What whole simulations take: events one by one, runs of requests, and what else a point of a sweep costs."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.record.steps import DECODING

pytestmark = pytest.mark.bench


def timed(benchmark, experiment, rounds=5):
    run = benchmark.pedantic(simulate, (experiment,), rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["per"] = sum(run.ledger.totals[kind].n_steps for kind in DECODING)


@pytest.mark.benchmark(group="engine events")
@pytest.mark.parametrize("speculation", [None, "gammatune"])
def test_iterations_whose_drafts_are_drawn(benchmark, speculation):
    """Which drafts are accepted changes every iteration, so each is an event of its own."""
    options = RunOptions(
        hw="papi", trace="llama7b", batch=8, tlp=4, acceptance="geometric", draft="free",
        speculation=speculation,
        set=["acceptance.alpha=0.7"],
    )  # fmt: skip
    timed(benchmark, load_experiment(options), rounds=3)


@pytest.mark.benchmark(group="request-level run")
@pytest.mark.parametrize("hw", ["papi", "gpu_only"])
def test_the_default_workload(benchmark, hw):
    timed(benchmark, load_experiment(RunOptions(hw=hw, trace="llama7b")))


@pytest.mark.benchmark(group="request-level run")
@pytest.mark.parametrize("metrics", ["exact", "streaming"])
def test_a_service(benchmark, metrics):
    """Requests that arrive over time: nearly every step is an event."""
    options = RunOptions(
        hw="gpu_only", trace="llama7b", workload="azure_conversation", requests=300, metrics=metrics,
        set=["devices.gpu.count=1", "workload.rate_per_s=2"],
    )  # fmt: skip
    timed(benchmark, load_experiment(options), rounds=3)


@pytest.mark.benchmark(group="sweep point")
def test_reading_an_experiment_again(benchmark):
    """As every point of a sweep does; files are read once."""
    options = RunOptions(hw="papi", trace="llama7b", set=["devices.fc_pim.count=20"])
    benchmark.pedantic(load_experiment, (options,), rounds=20, warmup_rounds=1)


@pytest.mark.benchmark(group="sweep point")
def test_simulating_next_to_nothing(benchmark):
    """Two tokens: what remains is the machine that is built and the kernels that are priced for the first time."""
    overrides = ["workload.lengths={kind: fixed, input_tokens: 8, output_tokens: 2}"]
    experiment = load_experiment(RunOptions(hw="papi", trace="llama7b", batch=1, set=overrides))
    benchmark.pedantic(simulate, (experiment,), rounds=20, warmup_rounds=1)
