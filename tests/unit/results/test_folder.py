import json
from pathlib import Path

import pandas as pd
import pytest

from papisim.errors import InputError
from papisim.results.folder import read_results
from papisim.results.store import manifest_head, write_folder

GOOD = {"schema": "papisim/manifest/1", "kind": "run"}


def folder_with(tmp_path: Path, manifest: object) -> Path:
    (tmp_path / "manifest.json").write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    return tmp_path


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ([], "found no mapping"),
        (
            {**GOOD, "schema": "papisim/manifest/9"},
            "schema: found 'papisim/manifest/9', expected 'papisim/manifest/2'",
        ),
        ({"schema": GOOD["schema"]}, "kind: is missing"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused_with_its_place(tmp_path, manifest, message):
    with pytest.raises(InputError, match=message) as caught:
        read_results(folder_with(tmp_path, manifest))
    assert "manifest.json" in str(caught.value)


def test_a_folder_without_manifest_and_a_path_that_is_no_folder_are_told_apart(tmp_path):
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        read_results(tmp_path / "nowhere")


def test_a_frame_that_is_missing_or_broken_is_named(tmp_path):
    results = read_results(folder_with(tmp_path, GOOD))
    assert results.frame_names == []
    with pytest.raises(InputError, match="expected the frame 'steps'"):
        results.frame("steps")
    (tmp_path / "steps.csv").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as CSV"):
        results.frame("steps")


@pytest.fixture
def written(tmp_path):
    """A folder of results, with everything that may be changed in it."""
    manifest = manifest_head("run") | {"experiment": {"alpha": (28, 56)}}
    write_folder(tmp_path / "r", manifest, {"steps": pd.DataFrame({"time_s": [1.0, 2.0]})}, summary={"energy_j": 3.0})
    return tmp_path / "r"


def test_results_are_read_back_as_they_were_written(written):
    results = read_results(written)
    assert results.frame("steps")["time_s"].tolist() == [1.0, 2.0]
    assert results.summary == {"energy_j": 3.0}
    assert results.manifest["experiment"] == {"alpha": [28, 56]}


@pytest.mark.parametrize(("name", "old", "new"), [
    ("manifest.json", "28", "29"), ("manifest.json", '"kind": "run"', '"kind": "sweep"'), ("manifest.json", "manifest_sha256", "x"),
    ("steps.csv", "2.0", "2.5"), ("summary.json", "3.0", "4.0"),
])  # fmt: skip
def test_results_that_were_changed_are_refused(written, name, old, new):
    path = written / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

    def read():
        results = read_results(written)
        return results.frame("steps"), results.summary

    with pytest.raises(InputError, match="was changed after papisim wrote it") as caught:
        read()
    assert caught.value.place.file == str(path)


def test_results_of_an_earlier_schema_have_no_checksums_and_are_read(written):
    manifest = json.loads((written / "manifest.json").read_text())
    (written / "manifest.json").write_text(json.dumps(manifest | {"schema": "papisim/manifest/1"}))
    assert len(read_results(written).frame("steps")) == 2
