"""What a configuration file may hold: text that can be shown, and not too much of it."""

import pytest

from papisim.config.yaml import load_yaml
from papisim.errors import InputError


def refusal(tmp_path, content):
    (tmp_path / "f.yaml").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_yaml(tmp_path / "f.yaml")
    assert len(str(caught.value)) < 1000
    return str(caught.value)


@pytest.mark.parametrize("text", [rb'name: "\e[31mred"', rb'name: "\a"', rb'name: "\u202edlrow"', rb'name: "a\0b"'])
def test_control_characters_are_refused(tmp_path, text):
    assert "f.yaml:1:7: name: holds control characters" in refusal(tmp_path, text)
    assert "control characters in a field name" in refusal(tmp_path, text.removeprefix(b"name: ") + b": 1")


def test_lines_and_tabs_are_no_control_characters(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b'a: "x\\ty"\nb: |\n  one\n  two\n')
    assert load_yaml(tmp_path / "f.yaml").data == {"a": "x\ty", "b": "one\ntwo\n"}


def test_a_file_out_of_all_proportion_is_not_parsed(tmp_path):
    assert "has more than 8 MiB" in refusal(tmp_path, b"a: [" + b"1, " * 3_000_000 + b"1]")


def test_a_file_of_another_kind_is_quoted_in_part(tmp_path):
    assert "expected a mapping" in refusal(tmp_path, b"\n".join(b"user%d x 0 0 home shell" % n for n in range(2000)))
