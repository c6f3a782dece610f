"""Cells of claims, whatever draws them."""

import pytest

from papisim.report.claims import ClaimRow, ShownFigure, cells, headings, number, own_reason

ROW = ClaimRow(
    system="fig1",
    claim="speed-up",
    claimed=2.0,
    simulated=2.5,
    relative_error=0.25,
    verdict="direction holds",
    reason="a; b",
    reliability="text",
    source="here",
)
FIGURE = ShownFigure(name="fig1", title="t", assumed=["a", "b"], rows=[ROW], moved={}, findings=[], images=[])


def test_a_row_has_both_values_the_error_in_per_cent_and_the_verdict():
    assert headings(FIGURE) == ["value", "published", "simulated", "error", "verdict"]
    assert cells(FIGURE, ROW) == ["speed-up", "2", "2.5", "+25 %", "direction holds"]


def test_a_value_that_was_read_off_a_figure_is_marked():
    read_off = ClaimRow(**{**ROW, "reliability": "figure"})
    assert cells(FIGURE, read_off)[1] == "≈ 2"


def test_what_cannot_be_tested_has_dashes_and_no_error():
    untested = ClaimRow(**{**ROW, "simulated": None, "relative_error": None})
    assert cells(FIGURE, untested)[2:4] == ["—", ""]


def test_the_range_over_the_constants_has_a_column_where_they_were_moved():
    moved = ShownFigure(**{**FIGURE, "moved": {"speed-up": "1 … 3 (clock)"}})
    assert headings(moved)[-1] == "constants ±20 %"
    assert cells(moved, ROW)[-1] == "1 … 3 (clock)"
    assert cells(moved, ClaimRow(**{**ROW, "claim": "other"}))[-1] == ""


@pytest.mark.parametrize(("value", "text"), [(1234.56, "1235"), (0.000123456, "0.0001235"), ("above 1", "above 1")])
def test_numbers_have_four_digits(value, text):
    assert number(value) == text


def test_a_reason_is_shown_unless_it_is_what_the_figure_assumes():
    assert own_reason(FIGURE, ROW) == ""
    assert own_reason(FIGURE, ClaimRow(**{**ROW, "reason": "since"})) == "since"
