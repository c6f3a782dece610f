"""Requests as Python has them."""

import json

import numpy as np
import pandas as pd
import pytest

import papisim
from papisim.cli import papisim as command
from papisim.errors import InputError
from papisim.policies.speculation.fixed import Options as Fixed

SMALL = {"hw": "gpu_only", "trace": "llama7b"}
LENGTHS = ["input_tokens", "output_tokens"]
ARRIVALS = ["arrival_s", *LENGTHS]


def served(workload, columns):
    frame = papisim.run(**SMALL, workload=workload).frames["requests"]
    return frame.sort_values("request_id")[columns].to_numpy().tolist()


@pytest.mark.parametrize("rows", [[(30, 4), (5, 6), (7, 2)], [[30, 4], [5, 6]], [(np.int64(30), np.int32(4))]])
def test_a_list_of_lengths_is_a_closed_batch_of_these_requests(rows):
    assert served(rows, ARRIVALS) == [[0, *row] for row in rows]


def test_a_list_with_arrivals_is_served_as_it_arrives():
    rows = [(0.0, 30, 4), (0.25, 5, 6), (2.5, 7, 2)]
    assert served(rows, ARRIVALS) == [list(row) for row in rows]


def test_a_table_has_its_columns_in_any_order_and_may_have_others():
    table = pd.DataFrame({"output_tokens": [4, 6], "user": ["a", "b"], "input_tokens": [30, 5], "arrival_s": [0, 1]})
    assert served(table, ARRIVALS) == [[0, 30, 4], [1, 5, 6]]
    assert served(table.drop(columns="arrival_s"), ARRIVALS) == [[0, 30, 4], [0, 5, 6]]


def test_a_table_is_the_same_workload_as_its_mapping_and_is_in_the_manifest():
    table = pd.DataFrame([[0.0, 30, 4], [0.5, 5, 6]], columns=ARRIVALS)
    mapping = {"kind": "listed", "requests": [[0.0, 30, 4], [0.5, 5, 6]]}
    one, other = papisim.run(**SMALL, workload=table), papisim.run(**SMALL, workload=mapping)
    assert one.summary == other.summary
    workload = one.run.experiment.resolved()["workload"]
    assert json.loads(json.dumps(workload)) == {
        "name": "listed", "n_requests": 2, "timeout_s": None, "warmup_requests": 0, **mapping,
    }  # fmt: skip


def test_requests_and_batch_choose_from_a_list():
    rows = [(0.1 * index, 20, 3) for index in range(6)]
    assert len(papisim.run(**SMALL, workload=rows, requests=4).frames["requests"]) == 4
    pairs = [(20, 3 + index) for index in range(6)]
    assert papisim.run(**SMALL, workload=pairs).frames["steps"]["rlp"].max() == 6
    with_batch = papisim.run(**SMALL, workload=pairs, batch=2, requests=6).frames
    assert with_batch["steps"]["rlp"].max() == 2
    assert sorted(with_batch["requests"]["output_tokens"]) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ([], "no request is given"),
        ([(1,)], r"found tuples of \[1\] numbers, expected all of 2 or all of 3"),
        ([(1, 2), (0.0, 1, 2)], r"found tuples of \[2, 3\] numbers"),
        ([1, 2], r"found 1, expected \(input, output\) or \(arrival, input, output\)"),
        (["ab"], "found 'ab', expected"),
        (5, "found 5, expected a name, options, a table or a list"),
        (pd.DataFrame({"input_token": [1], "output_tokens": [2]}), "no column 'input_tokens'; did you mean 'input_token'"),
        ([(1.0, 2, 3), (0.5, 2, 3)], "found request 1 at 0.5 s after one at 1 s"),
        ([(-1.0, 2, 3)], "requests"),
        ([(0, 2)], "pairs"),
        ({"n_requests": 2}, "field 'kind' is missing"),
    ],
)  # fmt: skip
def test_what_is_no_workload_is_refused(workload, said):
    with pytest.raises(InputError, match=said):
        papisim.run(**SMALL, workload=workload)


def test_a_policy_is_a_name_a_mapping_or_its_options():
    runs = [
        papisim.run(**SMALL, batch=2, acceptance="meta_70b", draft="free", speculation=choice).summary
        for choice in ({"kind": "fixed", "tlp": 3}, Fixed(kind="fixed", tlp=3))
    ]
    assert runs[0] == runs[1]
    assert runs[0]["speculation"] == {"kind": "fixed", "tlp": 3}


def test_an_explained_run_is_that_of_the_command(capsys):
    asked = ["--hw", "papi", "--trace", "llama7b", "--batch", "2", "--changes", "1", "--of", "decode"]
    command(["explain", *asked, "-q", "--format", "json"], standalone_mode=False)
    explained = papisim.explain("papi", "llama7b", batch=2, changes=1, of="decode")
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(explained.summary))
    assert explained.frames["spent"]["time_ratio"].sum() == pytest.approx(1 - explained.summary["other_s"])
    assert "busy for" in repr(explained)
