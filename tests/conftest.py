from collections.abc import Callable

import pytest

from papisim.engine.run import Run, simulate
from papisim.spec.experiment import RunOptions, load_experiment


@pytest.fixture
def run() -> Callable[..., Run]:
    """Return a function that runs an experiment given as options of the command line."""

    def go(hw: str = "papi", trace: str = "llama7b", **options: object) -> Run:
        return simulate(load_experiment(RunOptions(hw=hw, trace=trace, **options)))  # type: ignore[arg-type]

    return go
