"""``papisim report`` as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("plotly", reason="needs the [report] extra")


def papisim(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "papisim", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "r"
    done = papisim("run", "--hw", "papi", "--trace", "llama7b", "--batch", "4", "--out", str(folder), "--quiet")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_becomes_one_file(results: Path, tmp_path: Path):
    file = tmp_path / "page.html"
    done = papisim("report", str(results), "-o", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert f"wrote {file}" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert all(word in text for word in ("llama7b on papi", "RLP·TLP", "Roofline", "Assumptions"))


def test_a_page_is_replaced_only_when_forced(results: Path, tmp_path: Path):
    file = tmp_path / "page.html"
    file.write_text("a thesis")
    refused = papisim("report", str(results), "-o", str(file))
    assert refused.returncode == 2
    assert "already there" in refused.stderr
    assert file.read_text() == "a thesis"
    assert papisim("report", str(results), "-o", str(file), "--force").returncode == 0
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_of_other_things_is_refused_in_one_line(tmp_path: Path):
    done = papisim("report", str(tmp_path))
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        == f"papisim: error: {tmp_path}: holds no manifest.json, expected a folder that --out wrote"
    )


def test_a_timeline_is_written_complete_beside_the_results(tmp_path: Path):
    file = tmp_path / "t.json"
    arguments = ("run", "--hw", "papi", "--trace", "llama7b", "--batch", "2", "--timeline", str(file))
    done = papisim(*arguments, "--timeline-window", "3..5")
    assert done.returncode == 0, done.stderr
    assert f"wrote {file}" in done.stderr
    names = [event["name"] for event in json.loads(file.read_text())["traceEvents"] if event.get("cat") == "decode"]
    assert names == ["decode 3", "decode 4"]
    again = papisim(*arguments)
    assert again.returncode == 2
    assert "already there" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--timeline-window", "3..5"), "--timeline-window needs --timeline"),
        (("--timeline", "t.json", "--timeline-window", "5..3"), "which holds nothing"),
        (("--timeline", "nowhere/t.json"), "cannot be made in"),
    ],
)
def test_a_wrong_timeline_is_refused_before_the_run(tmp_path: Path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = papisim("run", "--hw", "papi", "--trace", "llama7b", "--batch", "2", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
