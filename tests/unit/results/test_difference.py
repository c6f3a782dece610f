import math
from pathlib import Path

import pandas as pd
import pytest

from papisim.results.difference import changed_inputs, differences
from papisim.results.folder import Results, read_results
from papisim.results.store import manifest_head, write_folder


def written(folder: Path, summary: dict, **frames: pd.DataFrame) -> Results:
    write_folder(folder, manifest_head("run"), frames, summary=summary)
    return read_results(folder)


@pytest.fixture
def first(tmp_path) -> Results:
    frame = pd.DataFrame({"time_s": [0.1, 0.2, None], "name": ["a", "b", "c"]})
    return written(tmp_path / "first", {"energy_j": 3.0, "papisim_version": "1", "nested": [{"x": 1}]}, steps=frame)


def test_equal_results_have_no_difference_whatever_made_them(first, tmp_path):
    frame = pd.DataFrame({"time_s": [0.1, 0.2, None], "name": ["a", "b", "c"]})
    same = written(tmp_path / "same", {"energy_j": 3.0, "papisim_version": "2", "nested": [{"x": 1}]}, steps=frame)
    assert list(differences(first, same)) == []


def test_the_last_digit_is_a_difference_and_says_where(first, tmp_path):
    frame = pd.DataFrame({"time_s": [0.1, math.nextafter(0.2, 1), None], "name": ["a", "x", "x"]})
    other = written(tmp_path / "other", {"energy_j": 4.5, "papisim_version": "1", "nested": [{"x": 2}]}, steps=frame)
    assert list(differences(first, other)) == [
        "summary.energy_j: 4.5, was 3.0 (+0.5)",
        "summary.nested[0].x: 2, was 1 (+1)",
        "steps: time_s, row 1: 0.20000000000000004, was 0.2 (+2.2e-16)",
        "steps: name, row 1: 'x', was 'b', and 1 of the rows below",
    ]


def test_frames_columns_and_rows_that_come_or_go_are_differences(first, tmp_path):
    frame = pd.DataFrame({"time_s": [0.1], "other": [1]})
    other = written(tmp_path / "other", first.summary, steps=frame, more=frame)
    assert list(differences(first, other)) == [
        "frame more: new",
        "steps: column name: missing",
        "steps: column other: new",
        "steps: 1 rows, were 3",
    ]


def test_an_input_that_changed_came_or_went_is_named():
    def manifest(**files: str) -> dict:
        return {"input_files": [{"path": name, "origin": "user", "sha256": sha} for name, sha in files.items()]}

    said = list(changed_inputs(manifest(a="1", b="1", c="1"), manifest(a="1", b="2", d="1")))
    assert said == ["b (user) has changed", "c (user) is no longer read", "d (user) is read now"]
