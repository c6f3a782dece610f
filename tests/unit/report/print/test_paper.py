"""Figures for papers."""

from pathlib import Path

import pytest

from papisim.report.facets import Facet
from papisim.report.print.paper import WIDTHS, Plot

FACET = Facet(
    "trace llama7b",
    [1, 4, 16],
    {"papi": [1.0, 2.0, 4.0], "gpu": [0.5, None, 3.0]},
    {"papi": [1.0] * 3, "gpu": [2.0] * 3},
)


@pytest.fixture(autouse=True)
def _needs_matplotlib():
    pytest.importorskip("matplotlib")


def test_a_figure_is_as_wide_as_a_column_or_a_page_and_the_same_figure_is_the_same_file(tmp_path: Path):
    for width, inches in WIDTHS.items():
        for name in ("one.png", "one.svg", "one.pdf", "other.svg", "other.pdf"):
            Plot("lines", [FACET], "batch", "tokens/s", width).draw(tmp_path / name)
        png = (tmp_path / "one.png").read_bytes()
        assert int.from_bytes(png[16:20]) == pytest.approx(inches * 160, abs=1)
        for suffix in ("svg", "pdf"):
            assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"other.{suffix}").read_bytes()


def test_text_of_an_svg_is_text_in_a_serif_type(tmp_path: Path):
    Plot("bars", [FACET], "batch", "tokens/s").draw(tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    assert "tokens/s" in text
    assert "llama7b" in text
    assert "serif" in text


def test_error_bars_span_the_interval_around_the_value_and_a_missing_value_has_none():
    plot = Plot("lines", [FACET], "batch", "y", errors={"gpu": [(0.4, 0.9), (1.0, 2.0), None]})
    assert plot._spans("gpu", FACET.lines["gpu"]) == [pytest.approx([0.1, 0.0]), pytest.approx([0.4, 0.0])]
    assert plot._spans("papi", FACET.lines["papi"]) is None
