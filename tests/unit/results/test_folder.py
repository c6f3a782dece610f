import json
from pathlib import Path

import pytest

from papisim.errors import InputError
from papisim.results.folder import read_results

GOOD = {"schema": "papisim/manifest/1", "kind": "run"}


def folder_with(tmp_path: Path, manifest: object) -> Path:
    (tmp_path / "manifest.json").write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    return tmp_path


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "cannot be read as JSON"),
        ([], "found no mapping"),
        (
            {**GOOD, "schema": "papisim/manifest/9"},
            "schema: found 'papisim/manifest/9', expected 'papisim/manifest/1'",
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
