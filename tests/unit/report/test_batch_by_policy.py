"""The figure of rates by batch and policy."""

import sys
from pathlib import Path

import pytest

from papisim.errors import MissingExtra
from papisim.report.print.batch_by_policy import draw

POINTS = [
    {"machine": machine, "batch": batch, "policy": policy, "tokens_per_s": batch * rate, "fc_pim_ratio": pim}
    for machine in ("papi", "gpu_only")
    for batch, pim in ((1, 1.0), (2, 0.6), (4, 0.0))
    for policy, rate in (("off", 100.0), ("co_scheduled", 150.0))
]


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"papisim\[plot\]"):
        draw(POINTS, tmp_path / "figure")


def test_with_it_there_are_a_png_and_a_pdf(tmp_path: Path):
    pytest.importorskip("matplotlib")
    files = draw(POINTS, tmp_path / "figure")
    assert [file.suffix for file in files] == [".png", ".pdf"]
    assert all(file.stat().st_size > 1000 for file in files)
