"""Sweeps and searches from Python say what the commands say."""

import json

import pytest

import papisim
from papisim.cli import papisim as command
from papisim.errors import InputError

SPACE = {
    "description": "two batches on two machines",
    "base": {
        "hw": "papi",
        "trace": "llama7b",
        "set": {"workload.lengths": {"kind": "fixed", "input_tokens": 16, "output_tokens": 4}},
    },
    "space": {"hw": ["papi", "gpu_only"], "batch": [1, 4]},
    "constraints": {"fast": "throughput_tokens_per_s > 400"},
    "columns": {"per_device": "throughput_tokens_per_s / n_devices"},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(json.dumps({"schema": "papisim/sweep/1", **SPACE}))
    return path


def printed(capsys, *arguments):
    command([*map(str, arguments), "-q", "--workers", "1", "--format", "json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def test_a_sweep_is_that_of_the_command_from_a_file_or_a_mapping(file, capsys):
    swept, mapped = papisim.sweep(file), papisim.sweep(SPACE)
    assert json.loads(json.dumps(swept.summary)) == printed(capsys, "sweep", file)
    assert mapped.summary == swept.summary
    assert swept.frame["batch"].tolist() == [1, 4, 1, 4]
    assert set(swept.tally) == {"ok", "infeasible"}
    assert repr(swept).startswith("<4 points: ")


def test_every_row_of_a_sweep_has_every_column_and_null_where_it_has_no_value(file):
    rows = papisim.sweep(file).summary["rows"]
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert {row["status"] for row in rows} == {"ok", "infeasible"}
    for row in rows:
        assert (row["constraint"] is None) == (row["status"] == "ok")


def test_a_sweep_with_out_can_be_loaded_and_gone_on_with(file, tmp_path):
    swept = papisim.sweep(file, tmp_path / "s", frame="csv")
    saved = papisim.load(tmp_path / "s")
    assert len(saved.frames["frame"]) == len(swept.frame)
    with pytest.raises(InputError, match="force"):
        papisim.sweep(file, tmp_path / "s")
    again = papisim.sweep(file, tmp_path / "s", frame="csv", resume=True)
    assert again.tally["reused"] == 4
    assert again.summary == swept.summary


def test_a_search_is_that_of_the_command(file, tmp_path, capsys):
    pytest.importorskip("optuna", reason="needs the [sweep] extra")
    goals = {"speed": {"maximise": "throughput_tokens_per_s"}, "energy": {"minimise": "energy_per_token_j"}}
    space = {**SPACE, "optimise": {"objectives": goals, "sampler": "random", "trials": 6, "seed": 3}}
    path = tmp_path / "search.yaml"
    path.write_text(json.dumps({"schema": "papisim/sweep/1", **space}))
    done = papisim.optimise(space)
    assert json.loads(json.dumps(done.summary)) == printed(capsys, "optimise", path)
    best = done.front["throughput_tokens_per_s"].max()
    assert best == done.frame.loc[done.frame["status"] == "ok", "throughput_tokens_per_s"].max()


def test_what_is_wrong_with_a_mapping_has_its_place(file):
    with pytest.raises(InputError, match=r"space:.*is neither an option of a run, did you mean 'batch'"):
        papisim.sweep({**SPACE, "space": {"batsh": [1]}})
    with pytest.raises(InputError, match="has no 'optimise'"):
        papisim.optimise(SPACE)
    with pytest.raises(InputError, match="'resume' needs 'out'"):
        papisim.sweep(file, resume=True)
