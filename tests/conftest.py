from collections.abc import Callable, Iterable, Iterator

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import Run, simulate
from papisim.workloads.base import Request


class Given:
    """Requests as (arrival, prompt, answer)."""

    def __init__(self, requests: Iterable[tuple[float, int, int]]) -> None:
        self._requests = list(requests)

    def __iter__(self) -> Iterator[Request]:
        return (Request(index, *request) for index, request in enumerate(self._requests))


@pytest.fixture(scope="session")
def run() -> Callable[..., Run]:
    """Return a function that runs an experiment given as options of the command line."""

    def go(hw: str = "papi", trace: str = "llama7b", **options: object) -> Run:
        return simulate(load_experiment(RunOptions(hw=hw, trace=trace, **options)))  # type: ignore[arg-type]

    return go


@pytest.fixture(scope="session")
def serve() -> Callable[..., Run]:
    """Return a function that serves given requests, (arrival, prompt, answer) each, or those of a source."""

    def go(requests: object, hw: str = "gpu_only", trace: str = "llama7b", **options: object) -> Run:
        source = Given(requests) if isinstance(requests, list) else requests
        options = {"batching": "chunked_prefill", "batch_size": 128, "n_requests": 1, **options}
        probe = options.pop("probe", None)
        experiment = load_experiment(RunOptions(hw=hw, trace=trace, **options))  # type: ignore[arg-type]
        return simulate(experiment, probe=probe, source=source)  # type: ignore[arg-type]

    return go
