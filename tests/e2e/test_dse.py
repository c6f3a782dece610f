"""The questions of scripts/dse: every file runs, has a page that says how, and a table that answers it."""

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from papisim.exploration.evaluate import Evaluator
from papisim.exploration.file import load_sweep
from papisim.exploration.run import points
from papisim.exploration.space import as_cell

TOP = Path(__file__).parents[2]
FILES = {path.stem: path for path in sorted((TOP / "scripts" / "dse").glob("*.yaml"))}

spec = importlib.util.spec_from_file_location("findings", TOP / "scripts" / "dse" / "findings.py")
findings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(findings)

each_file = pytest.mark.parametrize("name", FILES)


def ends(file):
    """The first points of a space, and the last."""
    all_points = list(enumerate(points(file)))
    return [*all_points[:2], all_points[-1]]


@each_file
def test_its_first_and_last_points_run(name):
    file = load_sweep(FILES[name])
    evaluator = Evaluator(file)
    rows = [evaluator.row(number, values) for number, values in ends(file)]
    assert [row.reason for row in rows if row.status == "failed"] == []
    done = [row for row in rows if row.status == "ok"]
    assert done
    for row in done:
        assert all(value is not None for value in row.columns.values()), row.columns


@each_file
def test_a_page_says_what_is_asked_how_to_run_it_and_what_came_out(name):
    page = (TOP / "docs" / "dse" / f"{name}.md").read_text(encoding="utf-8")
    assert f"scripts/dse/run {name}" in page or f"papisim sweep scripts/dse/{name}.yaml" in page
    assert "## Findings" in page


@pytest.mark.parametrize("name", findings.QUESTIONS)
def test_its_tables_have_a_cell_for_every_point(name):
    file = load_sweep(FILES[name])
    counter = itertools.count(1)
    rows = [
        {**Evaluator(file).resolver.point(values).named, **{column: next(counter) for column in file.columns}}
        for values in points(file)
    ]
    frame = pd.DataFrame([{key: as_cell(value) for key, value in row.items()} for row in rows])
    for title, table in findings.QUESTIONS[name](frame).items():
        assert not table.empty, title
        assert table.notna().any(axis=None), title


def test_the_tables_are_printed_of_a_sweeps_folder(tmp_path):
    (tmp_path / "moe_dense").mkdir()
    rows = [
        {"trace": "a", "batch": 1, "hw": hw, "placement": placement, "decode_tokens_per_s": rate}
        for hw, placement, rate in (("gpu_only", None, 10), ("papi", "pinned:gpu", 11), ("papi", "cheapest", 25))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "moe_dense" / "frame.csv")
    command = [sys.executable, str(TOP / "scripts/dse/findings.py"), str(tmp_path / "moe_dense")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "moe_dense: tokens/s of decoding" in said
    assert said.splitlines()[-1].split()[-1] == "2.5", "PAPI over GPUs"
