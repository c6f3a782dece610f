"""A sweep: one row a point whoever computes it, nothing lost and nothing computed twice."""

import json
import os
import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest

from papisim.errors import InputError, MissingExtra, PapisimError
from papisim.exploration import evaluate, store
from papisim.exploration.run import points, sweep
from papisim.exploration.workers import Chunk, Here, Job, Processes, run_chunk

REST = """
space: {batch: [1, 2, 3], devices.fc_pim.count: [1, 30], tlp: {values: [1, 2], when: batch < 3}}
constraints: {area: "die_area_mm2(fc_pim) <= 121 mm2", slo: tpot_p99_s <= 4.5 ms}
columns: {tokens_per_j: 1 / energy_per_token_j}
"""


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.fixture
def simulated(monkeypatch):
    """Return a list that grows by one with each simulation."""
    done = []
    simulate = evaluate.simulate

    def counted(experiment, **options):
        done.append(experiment)
        return simulate(experiment, **options)

    monkeypatch.setattr(evaluate, "simulate", counted)
    return done


def interrupt_after(n_points):
    """Return what to call with progress that interrupts after so many points."""
    seen = Counter()

    def advance(tally):
        seen.update(tally)
        if seen.total() - seen["reused"] == n_points:
            raise Interrupted

    return advance


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_every_point_is_one_row_in_order(declare, tmp_path, form):
    file = declare(REST)
    swept = sweep(file, tmp_path / "out", Here(), form)
    assert list(swept.frame["point"]) == list(range(len(points(file)))) == list(range(10))
    assert swept.tally == Counter(swept.frame["status"])
    assert set(swept.frame["status"]) == {"ok", "infeasible"}
    there = {"parquet": {"frame.parquet"}, "csv": {"frame.csv", "frame.jsonl"}}[form]
    assert {path.name for path in (tmp_path / "out").iterdir()} == there | {"manifest.json"}
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["kind"] == "sweep"


def test_the_frame_on_disk_is_the_frame(declare, tmp_path):
    swept = sweep(declare(REST), tmp_path / "out", Here())
    stored = pd.read_parquet(tmp_path / "out" / "frame.parquet")
    assert list(stored.columns) == list(swept.frame.columns)
    pd.testing.assert_frame_equal(stored, swept.frame, check_dtype=False)


def test_processes_give_the_rows_of_one_process(declare, tmp_path):
    file = declare(REST)
    sweep(file, tmp_path / "one", Here())
    with Processes(2) as processes:
        sweep(file, tmp_path / "two", processes)
    assert store.read_frame(tmp_path / "one") == store.read_frame(tmp_path / "two")


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("n_points", [1, 4, 9])
def test_a_sweep_that_goes_on_simulates_nothing_twice(declare, tmp_path, simulated, form, n_points):
    file = declare(REST)
    sweep(file, tmp_path / "whole", Here(), form)
    whole = len(simulated)
    simulated.clear()
    with pytest.raises(Interrupted):
        sweep(file, tmp_path / "out", Here(), form, progress=interrupt_after(n_points))
    assert not (tmp_path / "out" / "frame.parquet").exists()
    sweep(file, tmp_path / "out", Here(), form, resume=True)
    assert len(simulated) == whole
    assert store.read_frame(tmp_path / "out") == store.read_frame(tmp_path / "whole")


def test_a_sweep_that_is_done_is_resumed_without_any_simulation(declare, tmp_path, simulated):
    file = declare(REST)
    first = sweep(file, tmp_path / "out", Here())
    simulated.clear()
    again = sweep(file, tmp_path / "out", Here(), resume=True)
    assert simulated == []
    assert again.tally["reused"] == int(first.frame["simulated"].sum()) == 10
    pd.testing.assert_frame_equal(again.frame, first.frame)


def test_a_wider_space_simulates_only_its_new_points(declare, tmp_path, simulated):
    sweep(declare("space: {batch: [1, 2]}"), tmp_path / "out", Here())
    simulated.clear()
    wider = sweep(declare("space: {batch: [1, 2, 3], tlp: [1, 2]}"), tmp_path / "out", Here(), resume=True)
    assert len(simulated) == 4
    fresh = sweep(declare("space: {batch: [1, 2, 3], tlp: [1, 2]}"), tmp_path / "fresh", Here())
    pd.testing.assert_frame_equal(wider.frame, fresh.frame)


def test_a_line_that_was_being_written_at_the_kill_is_no_row(declare, tmp_path, simulated):
    file = declare(REST)
    with pytest.raises(Interrupted):
        sweep(file, tmp_path / "out", Here(), progress=interrupt_after(2))
    (journal,) = (tmp_path / "out" / "parts").glob("*.jsonl")
    lines = journal.read_text()
    journal.write_text(lines + lines[:50])
    simulated.clear()
    frame = sweep(file, tmp_path / "out", Here(), resume=True).frame
    assert len(frame) == 10
    assert len(simulated) == 8


def test_another_papisim_reuses_nothing(declare, tmp_path, simulated, monkeypatch):
    file = declare("space: {batch: [1]}")
    sweep(file, tmp_path / "out", Here())
    monkeypatch.setattr(evaluate, "__version__", "9.9")
    sweep(file, tmp_path / "out", Here(), resume=True)
    assert len(simulated) == 2


def test_results_are_never_replaced_unasked(declare, tmp_path):
    file = declare("space: {batch: [1]}")
    out = tmp_path / "out"
    sweep(file, out, Here())
    before = (out / "frame.parquet").read_bytes()
    with pytest.raises(InputError, match="not empty"):
        sweep(file, out, Here())
    assert (out / "frame.parquet").read_bytes() == before
    sweep(file, out, Here(), "csv", force=True)
    assert not (out / "frame.parquet").exists()


def test_a_folder_of_other_things_is_not_gone_on_with(declare, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds no results of a sweep"):
        sweep(declare("space: {batch: [1]}"), tmp_path / "out", Here(), resume=True)


def test_a_worker_of_another_version_or_without_the_folder_refuses(declare, tmp_path):
    job = Job(declare("space: {batch: [1]}"), tmp_path / "nowhere", "run", "csv", resume=False)
    with pytest.raises(InputError, match="does not see"):
        run_chunk(job, Chunk("run-0", ()))
    other = Job(job.file, job.folder, "run", "csv", resume=False, version="0.0")
    with pytest.raises(InputError, match="must be the same"):
        run_chunk(other, Chunk("run-0", ()))


def test_a_chunk_whose_worker_died_is_taken_up_where_it_was(declare, tmp_path, simulated):
    file = declare("space: {batch: [1, 2, 3]}")
    store.prepare(tmp_path)
    job = Job(file, tmp_path, "run", "parquet", resume=False)
    chunk = Chunk("run-0", tuple(enumerate(points(file))))
    with pytest.raises(Interrupted):
        run_chunk(job, chunk, interrupt_after(2))
    tally = run_chunk(job, chunk)
    assert len(simulated) == 3
    assert tally["reused"] == 2
    assert list(store.collect(tmp_path, "run", 3, "parquet", ["batch"])["point"]) == [0, 1, 2]


def test_points_without_a_row_are_missed(declare, tmp_path):
    store.prepare(tmp_path)
    with pytest.raises(PapisimError, match="2 of 2 points have no row"):
        store.collect(tmp_path, "run", 2, "csv", [])


def test_values_of_several_kinds_become_text(declare, tmp_path):
    file = declare("space: {workload.lengths.output_tokens: [2, 3], speculation: [null, {kind: fixed, tlp: 2}]}")
    frame = sweep(file, tmp_path / "out", Here()).frame
    assert list(frame["speculation"])[1::2] == ['{"kind": "fixed", "tlp": 2}'] * 2
    assert frame["speculation"].isna().sum() == 2
    mixed = store.frame_of([{"x": 1}, {"x": "a"}], ["x"])
    assert list(mixed["x"]) == [1, "a"]


def test_a_frame_in_parquet_without_pyarrow_names_the_extra_and_the_way_around(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"--frame csv does without.*papisim\[sweep\]"):
        store.check_form("parquet")
    store.check_form("csv")


def test_a_sweep_in_csv_imports_neither_pyarrow_nor_dask(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "schema: papisim/sweep/1\ndescription: d\nbase: {hw: papi, trace: llama7b, batch: 1}\nspace: {tlp: [8]}\n"
    )
    for package in ("pyarrow", "distributed", "dask", "optuna", "scipy"):
        (tmp_path / f"{package}.py").write_text("raise ImportError('blocked by the test')")
    command = [sys.executable, "-m", "papisim", "sweep", "s.yaml", "--workers", "1", "--frame", "csv", "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "out" / "frame.csv")) == 1
