import gzip
import json

import numpy as np
import pytest

from papisim.acceptance.log import read_log
from papisim.errors import InputError, InputErrors

GOOD = {"source": "a", "task": "t", "qid": 1, "turn": 0, "new_tokens": 9, "draft_len": 4, "accepted": [4, 0, 2]}


def test_draft_lengths_are_one_number_a_list_or_unknown(write_log):
    turns = [GOOD, GOOD | {"draft_len": [5, 1, 2]}, GOOD | {"draft_len": None}]
    drafted = [turn.drafted.tolist() for turn in read_log(write_log(*turns))]
    assert drafted == [[4, 4, 4], [5, 1, 2], [-1, -1, -1]]


def test_a_log_may_be_gzipped_and_have_empty_lines(tmp_path):
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(f"\n{json.dumps(GOOD)}\n\n".encode()))
    (turn,) = read_log(path)
    assert (turn.source, turn.task, turn.new_tokens) == ("a", "t", 9)
    assert np.array_equal(turn.accepted, [4, 0, 2])


def test_task_and_tokens_may_be_missing(write_log):
    (turn,) = read_log(write_log({"source": "a", "draft_len": 1, "accepted": [0]}))
    assert (turn.task, turn.new_tokens) == ("", None)


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ("{", None, "is not JSON"),
        ("[1]", None, "expected a JSON object"),
        ("[" * 100_000, None, "is not JSON"),
        ({"draft_len": 1, "accepted": [0]}, "source", "is missing"),
        ({"source": "a", "draft_len": 1, "acepted": [0]}, "accepted", "is missing; did you mean 'acepted'"),
        (GOOD | {"source": 3}, "source", "found 3, expected text"),
        (GOOD | {"source": ""}, "source", "expected text"),
        (GOOD | {"task": [1]}, "task", "expected text"),
        (GOOD | {"accepted": []}, "accepted", "expected a list"),
        (GOOD | {"accepted": 3}, "accepted", "expected a list"),
        (GOOD | {"accepted": [1, -1, 0]}, "accepted[1]", "found -1, expected a whole number"),
        (GOOD | {"accepted": [1, 1.5, 0]}, "accepted[1]", "found 1.5"),
        (GOOD | {"accepted": [1, True, 0]}, "accepted[1]", "found true"),
        (GOOD | {"accepted": [1, None, 0]}, "accepted[1]", "found null"),
        (GOOD | {"accepted": [1, 0, 5]}, "accepted[2]", "found 5 accepted of 4 drafted"),
        (GOOD | {"draft_len": [4, 4]}, "draft_len", "found 2 draft lengths for 3 steps"),
        (GOOD | {"draft_len": "4"}, "draft_len", 'found "4", expected a whole number'),
        (GOOD | {"draft_len": 10**9}, "draft_len", "expected a whole number from 0 to 1,024"),
        (GOOD | {"draft_len": 1025}, "draft_len", "expected a whole number from 0 to 1,024"),
        (GOOD | {"new_tokens": float("nan")}, "new_tokens", "found NaN, expected a whole number"),
        (GOOD | {"new_tokens": "many"}, "new_tokens", 'found "many"'),
    ],
)
def test_a_wrong_line_is_named_with_its_number_and_field(write_log, line, field, message):
    path = write_log(GOOD, line)
    with pytest.raises(InputError, match=r".") as caught:
        read_log(path)
    error = caught.value
    assert (error.place.file, error.place.line, error.place.field) == (str(path), 2, field)
    assert message in error.message


def test_all_wrong_lines_are_told_at_once_up_to_a_limit(write_log):
    with pytest.raises(InputErrors) as caught:
        read_log(write_log("{", GOOD, "["))
    assert [error.place.line for error in caught.value.errors] == [1, 3]
    with pytest.raises(InputErrors) as caught:
        read_log(write_log(*["{"] * 500))
    assert len(caught.value.errors) == 21


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"\n", "is empty"),
        (b"\xff\xfe{", "not UTF-8"),
        (b"\x1f\x8b\x08nope", "may not be read"),
    ],
)
def test_a_file_that_is_no_log_is_refused(tmp_path, content, message):
    path = tmp_path / "log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_log(path)


def test_a_folder_is_no_log(tmp_path):
    with pytest.raises(InputError, match="is a folder, expected a log"):
        read_log(tmp_path)
