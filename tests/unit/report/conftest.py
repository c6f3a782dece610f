from pathlib import Path

import pytest

from papisim.engine.run import simulate
from papisim.results.comparison import Comparison
from papisim.results.folder import Results, read_results
from papisim.results.store import write_run
from papisim.spec.experiment import RunOptions, load_experiment


@pytest.fixture(scope="session")
def papi_results(tmp_path_factory) -> Results:
    """Results of a small run whose placement changes on the way."""
    folder: Path = tmp_path_factory.mktemp("results") / "papi"
    options = RunOptions(hw="papi", trace="llama7b", batch_size=48, tlp=2)
    write_run(simulate(load_experiment(options)), folder)
    return read_results(folder)


@pytest.fixture(scope="session")
def compared(tmp_path_factory) -> Results:
    """Results of a comparison with a GPU-only and a PIM-only machine."""
    folder: Path = tmp_path_factory.mktemp("results") / "compared"
    labels = ("papi", "gpu_only", "pim_only")
    options = (RunOptions(hw=label, trace="llama7b", batch_size=4) for label in labels)
    Comparison(labels, tuple(simulate(load_experiment(each)) for each in options)).write(folder)
    return read_results(folder)
