"""The scatter figure of ``papisim validate``."""

import pytest
from click.testing import CliRunner

from papisim.cli import validate
from papisim.errors import InputError
from papisim.report.print.validation import Cloud, draw

CLOUDS = [
    Cloud("matrix products, s", "memory", [1e-5, 2e-5], [1.1e-5, 1.9e-5]),
    Cloud("matrix products, s", "compute", [1e-3], [1e-3]),
    *(Cloud(f"panel {index}", "h200", [1.0, 2.0], [1.0, 2.5]) for index in range(5)),
]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_every_panel_and_regime_is_drawn(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    draw(CLOUDS, tmp_path / f"scatter{suffix}")
    drawn = (tmp_path / f"scatter{suffix}").read_bytes()
    assert len(drawn) > 5000
    if suffix == ".svg":
        text = drawn.decode()
        assert all(name in text for name in ("matrix products, s", "memory (2)", "compute (1)", "panel 4"))


@pytest.fixture
def refused(monkeypatch):
    """Fail when anything is compared: a figure that cannot be written is refused before."""

    def compared():
        raise AssertionError("compared all the same")

    monkeypatch.setattr(validate, "published", compared)

    def run(*options):
        result = CliRunner().invoke(validate.command, options)
        assert isinstance(result.exception, InputError)
        return str(result.exception)

    return run


def test_a_figure_that_cannot_be_written_is_refused_before_anything_is_compared(refused, tmp_path):
    (tmp_path / "there.png").write_text("mine")
    assert "expected one of .png, .pdf, .svg" in refused("--figure", str(tmp_path / "scatter.docx"))
    assert "--force overwrites it" in refused("--figure", str(tmp_path / "there.png"))
    assert "in no folder" in refused("--figure", str(tmp_path / "none" / "scatter.png"))
    assert (tmp_path / "there.png").read_text() == "mine"


def test_the_figure_shows_every_gpu_family_and_the_golden_counts(monkeypatch, tmp_path):
    """Two comparisons stand for all: of matrix products by regime, and of one family without regimes."""
    import numpy as np  # noqa: PLC0415

    from papisim.calibration.errors import Errors  # noqa: PLC0415
    from papisim.validation.gpu import Compared  # noqa: PLC0415
    from papisim.validation.pim import Golden  # noqa: PLC0415

    points, errors = np.array([[1.0, 2.0], [1.1, 2.1]]), Errors(2, 0.1, 0.1, 0.1)
    rows = [
        Compared("h200", "linear", "t", "cublas", regime, errors, None, points)
        for regime in ("all", "memory", "compute")
    ] + [Compared("a100", "all_reduce", "t", "nvlink3", "all", errors, None, points)]
    golden = [Golden("physical", True, 1, 16, 128, 100, 101)]
    drawn = {}
    monkeypatch.setattr(validate, "published", list)
    monkeypatch.setattr(validate, "_compare_gpus", lambda data: (rows, []))
    monkeypatch.setattr(validate, "golden_points", lambda data, mapping: golden)
    monkeypatch.setattr(validate, "summary", lambda points: [])
    monkeypatch.setattr(validate, "draw", lambda clouds, file: drawn.update({(c.panel, c.label): c for c in clouds}))
    (tmp_path / "ramulator_hbm3pim_attention.csv").touch()
    result = CliRunner().invoke(validate.command, ["--figure", str(tmp_path / "f.png"), "--data", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert set(drawn) == {
        ("matrix products, s", "memory"), ("matrix products, s", "compute"), ("all-reduce, s", "a100"),
        ("attention on PIM, cycles", "physical"),
    }  # fmt: skip
    assert set(drawn["attention on PIM, cycles", "physical"].predicted) == {101.0}
