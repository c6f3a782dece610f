from pathlib import Path

import pytest

from papisim.errors import InputError
from papisim.results.store import check_free


@pytest.mark.parametrize("blocked", ["file", "file/below", "file/far/below"])
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path, blocked: str):
    (tmp_path / "file").write_text("a file, no folder")
    with pytest.raises(InputError, match="--out"):
        check_free(tmp_path / blocked, force=True)


def test_the_current_folder_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in (".", "", "../" + tmp_path.name):
        with pytest.raises(InputError, match="current folder"):
            check_free(Path(name), force=True)


def test_a_new_folder_however_deep_is_free(tmp_path: Path):
    check_free(tmp_path / "a" / "b" / "c", force=False)
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty", force=False)
