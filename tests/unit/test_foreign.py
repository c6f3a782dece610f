"""Numbers, texts and archives of strangers: whatever they hold, the answer is a value or one sentence."""

import gzip
import json
import math
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim import foreign
from papisim.cli.price import _read_table
from papisim.config.yaml import load_yaml
from papisim.errors import InputError
from papisim.kinds.outside import load

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def outcome(read, *arguments):
    """Return what a reader returns, or its message."""
    try:
        return read(*arguments)
    except ValueError as error:
        return str(error)


@given(ANYTHING)
def test_a_number_is_finite_or_an_error(value):
    found = outcome(foreign.number, value)
    if found == "expected a number":
        assert isinstance(value, (bool, str, list, dict, type(None))) or not math.isfinite(value)
    else:
        assert math.isfinite(found)
        assert found == float(value)


@given(ANYTHING)
def test_a_whole_number_is_within_its_bounds_or_an_error(value):
    found = outcome(foreign.whole, value, 1, 1000)
    if found == "expected a whole number from 1 to 1,000":
        assert type(value) is not int or not 1 <= value <= 1000
    else:
        assert 1 <= found <= 1000
        assert found == float(value)


@given(ANYTHING)
def test_what_is_quoted_is_short(value):
    assert len(foreign.found(value)) <= 40


@pytest.mark.parametrize("text", ["1_000", "١٢", "0x10", "nan", "inf", "", " ", "1e", "--1", "9" * 5000, "1e999"])
def test_texts_that_only_python_takes_for_numbers_are_none(text):
    with pytest.raises(ValueError, match="expected a number"):
        foreign.number(text)


@pytest.mark.parametrize(("text", "value"), [(" 12 ", 12), ("12.0", 12), ("1.2e1", 12), ("-3", -3), (".5", 0.5)])
def test_texts_of_cells_are_numbers(text, value):
    assert foreign.number(text) == value


def test_an_exploding_archive_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(1 << 27)))
    with pytest.raises(InputError, match=r"bomb\.gz: unpacks to more than 150 times its size"):
        foreign.read_text(path)


def test_a_large_archive_of_common_text_is_read(tmp_path):
    line = json.dumps({"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": list(range(14))})
    text = "".join(f"{line} {index}\n" for index in range(250_000))
    path = tmp_path / "trace.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert len(text) > 1 << 24
    assert foreign.read_text(path) == text


@pytest.mark.parametrize("damage", [slice(0, 10), slice(0, 30)], ids=["header alone", "broken off"])
def test_a_damaged_archive_is_one_message(tmp_path, damage):
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(json.dumps(list(range(99))).encode())[damage])
    with pytest.raises(InputError, match=r"t.gz: may not be read"):
        foreign.read_text(path)


def test_an_archive_with_wrong_bytes_inside_is_one_message(tmp_path):
    content = bytearray(gzip.compress(json.dumps(list(range(99))).encode()))
    content[20] ^= 0xFF
    path = tmp_path / "t.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"t.gz: (may not be read|is not UTF-8)"):
        foreign.read_text(path)


def test_a_pipe_is_read_once_something_writes_into_it_and_refused_if_nothing_does(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("words",))
    writer.start()
    assert foreign.read_text(pipe) == "words"
    writer.join()
    monkeypatch.setattr(foreign, "_WRITER_S", 0)
    with pytest.raises(InputError, match="a pipe into which nothing was written"):
        foreign.read_text(pipe)


@pytest.mark.parametrize(
    "read",
    [
        load_yaml,
        foreign.read_text,
        lambda path: load(f"{path}:Name"),
        _read_table,
    ],
)
def test_no_reader_waits_for_ever_for_a_pipe(tmp_path, monkeypatch, read):
    pipe = tmp_path / "pipe.py"
    os.mkfifo(pipe)
    monkeypatch.setattr(foreign, "_WRITER_S", 0)
    with pytest.raises(InputError, match="a pipe into which nothing was written"):
        read(pipe)
