"""What ``scripts/exactness --against`` takes for a difference, and that it covers every command."""

import importlib.util
from pathlib import Path

import click
import pytest

from papisim.cli import papisim

FOLDER = Path(__file__).parents[2] / "scripts" / "figures"
KNOWN = {"keys": {"old_s": "new_s"}, "values": {"gpu": "xpu"}, "words": {}, "ignored": ["version"], "changed": []}


def module(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


compare, collect = module("compare"), module("collect")


def differences(before, after, status=(0, 0)):
    entries = [
        {"line": "run", "status": code, "said": "", "figures": figures}
        for code, figures in zip(status, (before, after), strict=True)
    ]
    return dict(compare.differences(entries[1], entries[0], KNOWN))


def test_rounding_is_no_difference_and_more_than_it_is_one():
    assert differences({"a": 1.0, "c": [1.0, 2.0]}, {"a": 1.0 + 1e-12, "c": [1.0, 2.0]}) == {}
    assert differences({"a": 1.0}, {"a": 1.0 + 1e-8}).keys() == {"a"}
    assert "1 of 2 rows, first 1" in differences({"c": [1.0, 2.0]}, {"c": [1.0, 2.1]})["c"]
    assert differences({"c": [1.0]}, {"c": [1.0, 1.0]}) == {"c": "2 rows were 1"}
    assert differences({"a": float("nan"), "b": None}, {"a": float("nan"), "b": 0.0}).keys() == {"b"}


def test_keys_that_go_are_differences_unless_they_were_renamed():
    assert differences({"x.lost": 1}, {}) == {"x.lost": "is gone"}
    assert differences({"f.csv:old_s": [1.0], "x.old_s": 2}, {"f.csv:new_s": [1.0], "x.new_s": 2}) == {}
    assert differences({}, {"new": 1}) == {}


def test_names_are_compared_and_prose_and_versions_are_not():
    assert differences({"bound": "memory"}, {"bound": "compute"}).keys() == {"bound"}
    assert differences({"device": "gpu"}, {"device": "xpu"}) == {}
    assert (
        differences({"note": "as it was", "s.version": "0.1.0"}, {"note": "in other words", "s.version": "0.2.0"})
        == {}
    )


def test_a_command_that_fails_differs_from_one_that_does_not():
    assert differences({}, {}, status=(0, 2)).keys() == {"status"}


def test_figures_are_found_in_what_is_printed_and_in_what_is_written(tmp_path):
    (tmp_path / "steps.csv").write_text("rlp,device\n4,gpu\n3,gpu\n")
    found = collect.figures('{"a": {"b": [1, 2]}}', tmp_path)
    assert found == {
        "stdout.a.b.length": 2, "stdout.a.b[0]": 1, "stdout.a.b[1]": 2,
        "steps.csv:rlp": [4.0, 3.0], "steps.csv:device": ["gpu", "gpu"],
    }  # fmt: skip


def test_claims_are_known_by_their_names_whatever_their_order(tmp_path):
    one, other = (
        '[{"claim": "a", "x": 1}, {"claim": "b", "x": 2}]',
        '[{"claim": "b", "x": 2}, {"claim": "a", "x": 1}]',
    )
    assert differences(collect.figures(one, tmp_path), collect.figures(other, tmp_path)) == {}
    assert differences(collect.figures("[1, 2]", tmp_path), collect.figures("[2, 1]", tmp_path)) != {}


def test_a_refused_line_is_tried_in_the_other_words():
    assert collect.in_other_words(["run", "--batch", "4"], {"--batch": "--batch-size"}) == [
        "run",
        "--batch-size",
        "4",
    ]
    assert collect.in_other_words(["run", "--batch-size", "4"], {"--batch": "--batch-size"}) == [
        "run",
        "--batch",
        "4",
    ]


@pytest.mark.parametrize("quick", [True, False])
def test_every_command_is_covered(quick):
    lines = compare.lines(quick, only=None)
    context = click.Context(papisim)
    names = set()
    for name in papisim.list_commands(context):
        command = papisim.get_command(context, name)
        inner = command.list_commands(context) if isinstance(command, click.Group) else [""]
        names |= {f"{name} {part}".strip() for part in inner}
    # these need torch, the network, or minutes, or print no figures
    left_out = {"bundle", "capture", "cite", "explore", "figure", "rerun", "schema", "workload fetch"} | (
        {"calibrate gpu"} if quick else set()
    )
    missing = {
        name for name in names - left_out if not any(line.startswith(f"{name} ") or line == name for line in lines)
    }
    assert missing == set()
