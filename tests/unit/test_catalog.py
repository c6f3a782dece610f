import shutil
from pathlib import Path

import pytest

import papisim
from papisim import catalog
from papisim.catalog import Shelf
from papisim.errors import InputError


@pytest.mark.parametrize("shelf", Shelf)
def test_every_shelf_has_something_and_each_name_finds_its_file(shelf):
    names = catalog.shipped(shelf)
    assert names
    assert list(names) == sorted(names)
    for name, path in names.items():
        assert catalog.find(shelf, name) == catalog.Found(name, path)


def test_the_systems_of_the_paper_are_shipped():
    wanted = {"papi", "a100_attacc", "a100_hbmpim", "attacc_only", "pim_only", "gpu_only", "papi_pim_only"}
    assert wanted <= set(catalog.shipped(Shelf.SYSTEM))


def test_a_path_wins_over_a_name_and_is_not_remarked_on(tmp_path):
    path = tmp_path / "papi.yaml"
    path.write_text("mine: 1")
    assert catalog.find(Shelf.SYSTEM, str(path)) == catalog.Found("papi", path, None)


def test_a_missing_path_finds_the_shipped_file_of_its_name_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = catalog.find(Shelf.SYSTEM, "configs/papi.yaml")
    assert found.path == catalog.shipped(Shelf.SYSTEM)["papi"]
    assert found.note == "configs/papi.yaml does not exist; using the shipped papi"


def test_a_trace_is_found_by_its_folder_or_its_file_and_named_by_the_folder(tmp_path):
    folder = tmp_path / "mymodel"
    shutil.copytree(catalog.shipped(Shelf.TRACE)["llama7b"].parent, folder)
    for given in (folder, folder / "trace.yaml"):
        assert catalog.find(Shelf.TRACE, str(given)) == catalog.Found("mymodel", folder / "trace.yaml")


@pytest.mark.parametrize(
    ("shelf", "name", "said"),
    [
        (Shelf.SYSTEM, "paip", "no hardware 'paip'.*did you mean 'papi'"),
        (Shelf.TRACE, "lama7b", "no kernel trace 'lama7b'.*did you mean 'llama7b'"),
        (Shelf.REQUESTS, "poetry/creative_writting.yaml", "no workload .*did you mean 'creative_writing'"),
        (Shelf.DEVICE, "zzz", "no device 'zzz'.*known: a100, "),
        (Shelf.SYSTEM, "", "no hardware ''"),
        (Shelf.SYSTEM, "x" * 5000, "no hardware 'xxx"),
    ],
)
def test_an_unknown_name_is_told_its_nearest(shelf, name, said):
    with pytest.raises(InputError, match=said):
        catalog.find(shelf, name)


def test_a_folder_without_a_trace_is_no_trace(tmp_path):
    with pytest.raises(InputError, match="no kernel trace"):
        catalog.find(Shelf.TRACE, str(tmp_path))


def test_inside_a_wheel_the_data_stands_in_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "_PACKAGE", tmp_path)
    assert catalog.data_folder() == tmp_path.parent
    (tmp_path / "shipped").mkdir()
    assert catalog.data_folder() == tmp_path / "shipped"


def test_in_a_checkout_the_data_stands_beside_the_package():
    beside = Path(papisim.__file__).parent
    assert catalog.data_folder() in (beside.parent, beside / "shipped")
    assert (catalog.data_folder() / "hwconfigs" / "sources.bib").is_file()
