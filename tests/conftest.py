import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import Run, simulate
from papisim.validation.public_data import data_folder, how_to_get
from papisim.workloads.base import Request


class Given:
    """Requests as (arrival, prompt, answer)."""

    def __init__(self, requests: Iterable[tuple[float, int, int]]) -> None:
        self._requests = list(requests)

    def __iter__(self) -> Iterator[Request]:
        return (Request(index, *request) for index, request in enumerate(self._requests))


@pytest.fixture(autouse=True)
def _width_of_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print as into a pipe, whatever width the test runner passes to its workers."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def data() -> Callable[[str], Path]:
    """Return a function that finds a file or folder of others' data, or skips the test and tells how to get them.

    Searched are the folder that PAPISIM_DATA names, ``shared/data`` beside the repository, and the cache of
    ``papisim validate --fetch``; a file that is sought compressed may be there uncompressed.
    """
    named = os.environ.get("PAPISIM_DATA")
    shared = Path(__file__).parents[2] / "shared" / "data"
    folders = [*([Path(named)] if named else []), shared, data_folder()]

    def find(name: str) -> Path:
        for folder in folders:
            for path in (folder / name, folder / name.removesuffix(".gz")):
                if path.exists():
                    return path
        pytest.skip(f"no {name} in PAPISIM_DATA, {shared} or {data_folder()}: {how_to_get(name)}")

    return find


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
        options = {"batching": "chunked_prefill", "batch": 128, "requests": 1, **options}
        probe = options.pop("probe", None)
        experiment = load_experiment(RunOptions(hw=hw, trace=trace, **options))  # type: ignore[arg-type]
        return simulate(experiment, probe=probe, source=source)  # type: ignore[arg-type]

    return go
