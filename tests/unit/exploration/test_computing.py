"""Where points are computed, and how a frame becomes plain values."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from papisim.errors import InputError
from papisim.exploration.computing import Computing
from papisim.exploration.frame import is_missing, points_json, records
from papisim.exploration.workers import Here, Processes, n_cpus

KEY = Path("key.pem")


def opened(computing):
    notes = []
    with computing.open(notes.append) as workers:
        return workers, notes


def test_one_worker_is_this_process_and_several_are_processes():
    assert isinstance(opened(Computing(workers=1))[0], Here)
    several, notes = opened(Computing(workers=3))
    assert isinstance(several, Processes)
    assert (several.count, notes) == (3, [])
    one_per_cpu, _ = opened(Computing())
    assert one_per_cpu.count == n_cpus()


@pytest.mark.parametrize("given", [{"tls_ca": KEY}, {"tls_cert": KEY}, {"tls_ca": KEY, "tls_key": KEY}])
def test_tls_files_go_together(given):
    with pytest.raises(InputError, match="go together, and one is missing"):
        opened(Computing(scheduler="tls://host:1", **given))


def test_tls_files_need_an_address_and_are_refused_before_anything_starts():
    with pytest.raises(InputError, match="need --scheduler tls://HOST:PORT"):
        opened(Computing(workers=1, tls_ca=KEY, tls_cert=KEY, tls_key=KEY))


def test_talk_in_the_open_is_noted_before_the_scheduler_is_asked(monkeypatch):
    monkeypatch.setattr("papisim.exploration.cluster._PATIENCE_S", 0.01)
    pytest.importorskip("distributed", reason="needs the [sweep] extra")
    notes = []
    with (
        pytest.raises(Exception, match="no scheduler answers"),
        Computing(scheduler="tcp://192.0.2.1:9").open(notes.append),
    ):
        pass
    assert notes == ["what goes to tcp://192.0.2.1:9 is neither encrypted nor authenticated; see tls://"]


def test_every_row_has_every_column_and_null_for_no_value():
    frame = pd.DataFrame(
        {"a": [1.0, math.nan], "b": pd.array([None, 2], dtype="Int64"), "c": ["x", None], "d": [0, False]}
    )
    rows = records(frame)
    assert rows == [{"a": 1.0, "b": None, "c": "x", "d": 0}, {"a": None, "b": 2, "c": None, "d": False}]
    assert points_json("s/1", frame) == {"schema": "s/1", "rows": rows}
    assert json.loads(json.dumps(rows)) == rows


@pytest.mark.parametrize(
    ("value", "missing"), [(None, True), (math.nan, True), (pd.NA, True), (0, False), ("", False), (0.0, False)]
)
def test_zero_and_empty_text_are_values(value, missing):
    assert is_missing(value) is missing
