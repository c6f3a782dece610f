"""The drawing of predicted over measured values."""

import pytest

from papisim.report.print.validation import Cloud, page

pytest.importorskip("matplotlib")

CLOUDS = [
    Cloud("GEMM, s", "memory", [1.0, 2.0], [1.1, 2.0]),
    Cloud("attention, s", "compute", [5.0], [4.0]),
    Cloud("GEMM, s", "compute", [8.0], [9.0]),
    Cloud("GEMM, s", "memory", [4.0], [4.0]),
]


def test_a_panel_has_the_points_of_each_regime():
    gemm, attention = page(CLOUDS).axes
    assert (gemm.get_title(), attention.get_title()) == ("GEMM, s", "attention, s")
    memory, compute = gemm.collections[:2]
    assert memory.get_offsets().tolist() == [[1, 1.1], [2, 2], [4, 4]]
    assert compute.get_offsets().tolist() == [[8, 9]]
    assert [text.get_text() for text in gemm.get_legend().get_texts()] == ["memory (3)", "compute (1)"]


def test_the_line_is_where_a_prediction_is_exact_and_the_band_ten_per_cent_around_it():
    gemm, _ = page(CLOUDS).axes
    (line,) = gemm.lines
    assert list(line.get_xdata()) == list(line.get_ydata()) == [1, 8]
    band = gemm.collections[-1].get_paths()[0].vertices
    at_the_end = sorted({round(y, 9) for x, y in band if x == 8})
    assert at_the_end == pytest.approx([7.2, 8.8])
    assert (gemm.get_xscale(), gemm.get_yscale()) == ("log", "log")
    assert (gemm.get_xlabel(), gemm.get_ylabel()) == ("measured", "predicted")


def test_a_label_that_is_no_regime_gets_a_colour_of_its_own():
    clouds = [Cloud("p", name, [1.0], [1.0]) for name in ("one", "two", "memory")]
    (axes,) = page(clouds).axes
    colours = [tuple(cloud.get_facecolors()[0]) for cloud in axes.collections[:3]]
    assert len(set(colours)) == 3
