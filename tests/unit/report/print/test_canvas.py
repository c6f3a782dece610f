"""Files of drawings."""

import sys
from pathlib import Path

import pytest

from papisim.errors import MissingExtra
from papisim.report.print.canvas import canvas, png_and_pdf, save


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"papisim\[plot\]"):
        canvas(4, 3)


def test_files_are_a_png_of_160_dots_per_inch_and_a_pdf(tmp_path: Path):
    pytest.importorskip("matplotlib")
    files = png_and_pdf(tmp_path / "figure")
    save(canvas(4, 3), files)
    png, pdf = (file.read_bytes() for file in files)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(png[at : at + 4]) for at in (16, 20)] == [4 * 160, 3 * 160]
    assert pdf.startswith(b"%PDF")


def test_the_same_figure_is_the_same_file(tmp_path: Path):
    pytest.importorskip("matplotlib")
    one, other = (tmp_path / name for name in ("one.pdf", "other.pdf"))
    for file in (one, other):
        save(canvas(4, 3), [file])
    assert b"CreationDate" not in one.read_bytes()
    assert one.read_bytes() == other.read_bytes()
