"""What writing of results does where the disk, the name or another writer stands in the way."""

from pathlib import Path

import pandas as pd
import pytest

from papisim.errors import InputError
from papisim.results import store
from papisim.results.lock import only_writer
from papisim.results.store import check_free, manifest_head, open_file, write_folder

FRAMES = {"one": pd.DataFrame({"a": [1, 2]})}


def write(folder, **options):
    write_folder(folder, manifest_head("run"), FRAMES, **options)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "loop/x", "dangling"])
def test_names_that_the_system_refuses_are_one_error(tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="--out"):
        check_free(tmp_path / name, force=False)
    assert sorted(tmp_path.iterdir()) == before


def test_the_root_of_the_file_system_is_refused():
    with pytest.raises(InputError, match="--out /"):
        check_free(Path("/"), force=True)


def test_a_link_to_results_is_followed_when_they_are_replaced(tmp_path):
    write(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", force=True)
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["manifest.json", "one.csv"]


def test_a_full_disk_leaves_the_old_results_and_no_rest(tmp_path, monkeypatch):
    write(tmp_path / "out")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_write_json", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "out", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert pd.read_csv(tmp_path / "out" / "one.csv").equals(FRAMES["one"])


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path):
    with pytest.raises(AttributeError), open_file(tmp_path / "page.html") as file:
        file.write("half").fails()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_has_one_writer(tmp_path):
    second = only_writer(tmp_path)
    with only_writer(tmp_path), pytest.raises(InputError, match="is being written by another process"):
        second.__enter__()
    with only_writer(tmp_path):  # free again
        assert list(tmp_path.iterdir()) == []
