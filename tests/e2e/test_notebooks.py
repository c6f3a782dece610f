"""The notebooks in the documentation run, and are shown as they ran."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, of the [dev] extra")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient, of the [dev] extra")
pytest.importorskip("matplotlib", reason="needs the [plot] extra")

TOP = Path(__file__).parents[2]
NOTEBOOKS = sorted((TOP / "docs").rglob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_a_notebook():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    shown = nbformat.read(path, as_version=4)
    fresh = nbformat.from_dict(shown)
    nbclient.NotebookClient(fresh, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for before, after in zip(code_cells(shown), code_cells(fresh), strict=True):
        kinds = [sorted(output.get("data", {})) for output in before.outputs]
        assert kinds == [sorted(output.get("data", {})) for output in after.outputs], (
            "shown as it ran: run and save it again"
        )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_run_in_order_and_names_no_place_of_anyones_machine(path):
    notebook = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert not any(str(parent) in path.read_text() for parent in TOP.parents if len(parent.parts) > 1)
