"""CSV of frames: text is text in a spreadsheet, and the same again when read."""

import csv

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.errors import as_cell, from_cell
from papisim.results.csv_files import read_csv, write_csv

FORMULAS = ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(1)", "\tx", "\rx", "'=1", "''@x"]


@given(st.text() | st.sampled_from(FORMULAS))
def test_a_cell_is_no_formula_and_becomes_the_text_again(text):
    cell = as_cell(text)
    assert from_cell(cell) == text
    assert cell[:1] not in {"=", "@", "\t", "\r", "+", "-"} or float(cell) is not None


@pytest.mark.parametrize("value", ["papi", "1.5", "-3", "+2e5", "", "'quoted'", 7, -2.5, None, "x=1"])
def test_what_no_spreadsheet_computes_stays(value):
    assert as_cell(value) == value == from_cell(value)


def test_a_frame_with_formulas_is_harmless_on_disk_and_itself_again(tmp_path):
    texts = [text for text in FORMULAS if "\r" not in text]
    frame = pd.DataFrame({"machine": texts, "time_s": -1.5, "note": [None] * 6 + ["-x"]})
    file = tmp_path / "frame.csv"
    write_csv(frame, file)
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert all(row["machine"].startswith("'") for row in rows)
    assert {row["time_s"] for row in rows} == {"-1.5"}
    pd.testing.assert_frame_equal(read_csv(file), frame, check_dtype=False)
