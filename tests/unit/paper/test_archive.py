"""Finished runs on disk: an interrupted study resumes, and only what a run depends on makes its records stale."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import papisim
from papisim.catalog import data_folder
from papisim.paper import archive
from papisim.paper.archive import Archive, fingerprint
from papisim.paper.choices import Choices
from papisim.paper.experiment import Case, Cell
from papisim.paper.runner import Lab

PACKAGE = Path(papisim.__file__).parent


def test_an_interrupted_study_resumes_where_it_stopped(tmp_path):
    cell = Cell("attacc_only", Case("llama65b", "creative_writing", 4, 4))
    first = Lab(Choices(), processes=1, archive=Archive(tmp_path))
    job = first.job({}, cell)
    first.run([job])
    (file,) = tmp_path.iterdir()
    assert file.name == f"runs-{fingerprint()}.jsonl"
    file.write_text(file.read_text() + '["cut of')
    told = []
    again = Lab(Choices(), 1, lambda done, of: told.append((done, of)), Archive(tmp_path))
    again.run([job])
    assert not told, "nothing was left to run"
    assert (again.record(job).parts == first.record(job).parts).all()
    assert again.record(job)[1:] == first.record(job)[1:]


def test_a_job_that_does_not_fit_is_remembered_and_others_are_run(tmp_path):
    large = Cell("papi", Case("gpt3-175b", "general_qa", 4096, 1))
    small = Cell("attacc_only", Case("llama65b", "creative_writing", 4, 4))
    first = Lab(Choices(), processes=1, archive=Archive(tmp_path))
    job = first.job({}, large)
    first.run([job])
    told = []
    again = Lab(Choices(), 1, lambda done, of: told.append((done, of)), Archive(tmp_path))
    again.run([job, again.job({}, small)])
    assert again.record(job) is None
    assert told == [(1, 1)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> tuple[Path, Path]:
    """A copy of the package, and of the files that runs read."""
    root = tmp_path_factory.mktemp("paper")  # a folder whose name is that of a room
    shutil.copytree(PACKAGE, root / "papisim", ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    for name in ("hwconfigs", "traces"):
        shutil.copytree(data_folder() / name, root / name)
    return root / "papisim", root


CHANGES = [
    ("papisim/engine/server.py", True),
    ("papisim/config/experiment.py", True),
    ("papisim/devices/pim/timing.py", True),
    ("papisim/paper/experiment.py", True),
    ("hwconfigs/papi.yaml", True),
    ("hwconfigs/devices/fc_pim.yaml", True),
    ("traces/requests/creative_writing.yaml", True),
    ("papisim/paper/figure.py", False),
    ("papisim/paper/papi/fig8.py", False),
    ("papisim/paper/papi/published.yaml", False),
    ("papisim/paper/papi/choices.yaml", False),
    ("papisim/report/print/chart.py", False),
    ("papisim/cli/reproduce.py", False),
    ("hwconfigs/sources.bib", False),
]


@pytest.mark.parametrize(("file", "matters"), CHANGES)
def test_a_change_makes_records_stale_only_if_runs_depend_on_the_file(tree, file, matters):
    package, data = tree
    before, path = fingerprint(package, data), data / file
    text = path.read_bytes()
    path.write_bytes(text + b"\n")
    assert (fingerprint(package, data) != before) == matters
    path.write_bytes(text)
    assert fingerprint(package, data) == before


def test_fits_that_devices_read_matter_too(tree):
    package, data = tree
    before = fingerprint(package, data)
    fit = next((data / "hwconfigs").rglob("*.csv"))
    fit.write_bytes(fit.read_bytes() + b"\n")
    assert fingerprint(package, data) != before


def test_runs_import_nothing_that_is_left_out():
    script = (
        "import sys, papisim.paper.experiment; print(*sorted(n for n in sys.modules if n.startswith('papisim.')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    found = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment
    )
    imported = {name.split(".")[1] for name in found.stdout.split()}
    assert all((PACKAGE / room).is_dir() for room in archive._NOT_RUN)
    assert "engine" in imported
    assert imported & archive._NOT_RUN == {"paper"}
    assert {name for name in found.stdout.split() if name.startswith("papisim.paper.")} == {
        "papisim.paper.choices",  # named by jobs' assignments and lengths, which are part of their key
        "papisim.paper.experiment",
    }
