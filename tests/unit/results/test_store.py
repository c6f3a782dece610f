import json
from pathlib import Path

import pandas as pd
import pytest

from papisim.errors import InputError
from papisim.ops.lower import kv_bytes_per_token
from papisim.results.frames import frames
from papisim.results.store import check_file, check_free, manifest_head, sha256_of, write_folder, write_run


@pytest.mark.parametrize("blocked", ["file", "file/below", "file/far/below"])
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path, blocked: str):
    (tmp_path / "file").write_text("a file, no folder")
    with pytest.raises(InputError, match="--out"):
        check_free(tmp_path / blocked, force=True)


def test_a_device_is_no_file_to_replace():
    with pytest.raises(InputError, match="is a device or a pipe"):
        check_file(Path("/dev/null"), force=True)


def test_the_current_folder_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in (".", "", "../" + tmp_path.name):
        with pytest.raises(InputError, match="current folder"):
            check_free(Path(name), force=True)


def test_a_new_folder_however_deep_is_free(tmp_path: Path):
    check_free(tmp_path / "a" / "b" / "c", force=False)
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty", force=False)


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path):
    class Broken:
        def __str__(self) -> str:
            raise OSError("no space left")

    frames = {"good": pd.DataFrame({"a": [1]}), "bad": pd.DataFrame({"a": [Broken()]})}
    with pytest.raises(OSError, match="no space"):
        write_folder(tmp_path / "r", manifest_head("run"), frames)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_says_which_kind_of_results_it_is_of(tmp_path: Path, run):
    finished = run(batch=2)
    write_run(finished, frames(finished), tmp_path / "r")
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["kind"] == "run"
    assert manifest["schema"] == "papisim/manifest/2"


def test_a_step_says_how_long_each_resource_worked_and_what_the_caches_held(run):
    finished = run(batch=4)
    steps = frames(finished)["steps"]
    busy = steps.filter(regex="^busy_").sum()
    assert busy.sum() == pytest.approx(steps["time_s"].sum())
    for resource, seconds in finished.ledger.busy_s.items():
        assert busy[f"busy_{resource}_s"] == pytest.approx(seconds)
    assert (steps["kv_bytes"] == steps["kv_tokens"] * kv_bytes_per_token(finished.trace)).all()


def test_a_hash_is_of_the_values_and_not_of_their_order():
    assert sha256_of({"a": 1, "b": [2, 3]}) == sha256_of({"b": [2, 3], "a": 1})
    assert sha256_of({"a": 1, "b": [2, 3]}) != sha256_of({"a": 1, "b": [3, 2]})
    assert sha256_of({"a": 1}) == "f9d86028c6e0d64e225186f96acb69338b2c59764df79162107f5c4bb34d1310", (
        "sha256sum of its JSON text"
    )
