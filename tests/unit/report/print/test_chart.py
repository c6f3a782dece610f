"""Bars and lines of a table."""

import dataclasses

import pytest

from papisim.report.print.chart import Chart

pytest.importorskip("matplotlib")

ROWS = [
    {"batch": batch, "tlp": tlp, "machine": machine, "time_s": time_s}
    for machine, scale in (("papi", 1.0), ("gpu", 3.0))
    for (batch, tlp), time_s in (((4, 1), 2.0 * scale), ((4, 2), 3.0 * scale))
]
BARS = Chart("bars", ("batch", "tlp"), "time_s", "machine", y_label="s", x_label="batch, TLP", line=1.0)


def heights(axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches]


def ticks(axes) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def test_bars_stand_side_by_side_at_the_joined_columns():
    (axes,) = BARS.page(ROWS, "title").axes
    assert heights(axes) == [2, 3, 6, 9]
    assert ticks(axes) == ["4, 1", "4, 2"]
    papi, gpu = axes.patches[0], axes.patches[2]
    assert papi.get_x() + papi.get_width() == pytest.approx(gpu.get_x()), "they touch and do not overlap"
    assert (papi.get_x() + gpu.get_x() + gpu.get_width()) / 2 == pytest.approx(0), "around the tick"
    assert papi.get_facecolor() != gpu.get_facecolor()


def test_a_page_has_its_title_labels_and_legend():
    page = BARS.page(ROWS, "how long")
    (axes,) = page.axes
    assert page.get_suptitle() == "how long"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch, TLP", "s")
    assert [text.get_text() for text in page.legends[0].get_texts()] == ["papi", "gpu"]


def test_stacked_bars_begin_where_the_one_below_ends():
    stacked = dataclasses.replace(BARS, kind="stacked", line=None)
    (axes,) = stacked.page(ROWS, "").axes
    assert [bar.get_y() for bar in axes.patches] == [0, 0, 2, 3]
    assert heights(axes) == [2, 3, 6, 9]


def test_lines_go_through_the_points_of_their_series():
    (axes,) = dataclasses.replace(BARS, kind="lines", log=True).page(ROWS, "").axes
    papi, gpu, reference = axes.lines
    assert list(papi.get_ydata()) == [2, 3]
    assert list(gpu.get_ydata()) == [6, 9]
    assert list(papi.get_xdata()) == [0, 1]
    assert list(reference.get_ydata()) == [1, 1], "the line to compare with"
    assert axes.get_yscale() == "log"


def test_without_a_line_to_compare_with_there_is_none():
    (axes,) = dataclasses.replace(BARS, kind="lines", line=None).page(ROWS, "").axes
    assert len(axes.lines) == 2
    assert axes.get_yscale() == "linear"


def test_a_panel_has_the_rows_of_its_value():
    page = dataclasses.replace(BARS, x=("batch",), panel="tlp").page(ROWS, "")
    assert [axes.get_title() for axes in page.axes] == ["1", "2"]
    assert [heights(axes) for axes in page.axes] == [[2, 6], [3, 9]]
    assert page.get_size_inches()[0] == pytest.approx(8.8)


@pytest.mark.parametrize(("n", "rotation"), [(7, 0), (8, 90)])
def test_many_labels_are_turned(n, rotation):
    rows = [{"batch": batch, "tlp": 1, "machine": "papi", "time_s": 1.0} for batch in range(n)]
    (axes,) = BARS.page(rows, "").axes
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {rotation}
