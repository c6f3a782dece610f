"""``reproduce speculation``, ``calibrate speculation`` and ``compare --speculation`` as a user calls them."""

import json
import re
import time

import pytest
from click.testing import CliRunner, Result

from papisim.cli import papisim

VERDICTS = {"in range", "fitted", "direction holds", "off", "not testable"}


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(papisim, list(arguments))
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.slow
def test_every_claim_has_a_verdict_and_a_reason_within_a_minute():
    started = time.process_time()
    reply = json.loads(call("reproduce", "speculation", "--format", "json").stdout)
    assert time.process_time() - started < 60
    assert reply["schema"] == "papisim/claims/1"
    rows = reply["claims"]
    assert {row["system"] for row in rows} == {"synergy", "dsde", "gammatune", "del_layers", "sssd", "meta_eagle"}
    assert {row["verdict"] for row in rows} <= VERDICTS
    assert all(row["reason"] and row["source"] and row["reliability"] for row in rows)
    for row in rows:
        assert (row["simulated"] is None) == (row["verdict"] == "not testable")
        assert row["simulated"] is None or row["simulated"] > 0
    exact = {row["claim"]: row["verdict"] for row in rows}
    assert exact["rows by knee and batch, share of cells that agree"] == "in range"
    assert all(
        exact[f"{model}: tokens per call, chain of 3"] == "in range" for model in ("8B", "70B", "Scout", "Maverick")
    )


def test_other_figures_are_refused_with_what_there_is():
    result = CliRunner().invoke(papisim, ["reproduce", "speculations"])
    assert result.exit_code != 0
    assert "did you mean 'speculation'" in str(result.exception)


def test_the_calibrated_table_can_be_pasted():
    machine = ["--hw", "gpu_only", "--trace", "llama7b", "--draft", "eagle_head"]
    accepted = ["--acceptance", "geometric", "--set", "acceptance.alpha=0.8"]
    calibrate = [
        "calibrate",
        "speculation",
        *machine,
        *accepted,
        "--max-draft",
        "6",
        "--batch",
        "1",
        "--batch",
        "256",
    ]
    reply = json.loads(call(*calibrate, "--format", "json").stdout)
    lengths = [row["length"] for row in reply["table"]]
    assert [row["up_to_batch"] for row in reply["table"]] == [1, 256]
    assert lengths[0] > lengths[1]
    assert len(reply["points"]) == 2 * 7
    for row in reply["table"]:
        points = [point for point in reply["points"] if point["batch"] == row["up_to_batch"]]
        assert min(points, key=lambda point: point["token_s"])["length"] == row["length"]
    (line,) = [line for line in call(*calibrate).stdout.splitlines() if line.startswith("--set")]
    pasted = line.removeprefix("--set '").removesuffix("'")
    run = call("run", *machine, *accepted, "--batch", "2", "--set", pasted, "--format", "json", "--quiet")
    assert json.loads(run.stdout)["speculation"]["kind"] == "synergy"


def test_compare_crosses_machines_and_policies():
    reply = json.loads(
        call(
            *("compare", "--hw", "papi", "--hw", "gpu_only", "--speculation", "off", "--speculation", "dsde"),
            *("--trace", "llama7b", "--batch", "2", "--draft", "eagle_head", "--acceptance", "meta_8b"),
            *("--format", "json", "--quiet"),
        ).stdout
    )
    labels = [row["machine"] for row in reply["comparison"]]
    assert labels == ["papi + off", "papi + dsde", "gpu_only + off", "gpu_only + dsde"]
    assert [run["speculation"]["kind"] for run in reply["runs"]] == ["off", "dsde", "off", "dsde"]
    assert reply["comparison"][0]["speed_up_ratio"] == 1
    assert reply["comparison"][1]["decode_speed_up_ratio"] > 1


def test_compare_without_policies_names_machines_alone():
    reply = json.loads(
        call("compare", "--hw", "papi", "--trace", "llama7b", "--batch", "1", "--format", "json", "--quiet").stdout
    )
    assert [row["machine"] for row in reply["comparison"]] == ["papi"]


DRAFTED = "--hw papi --trace llama3-8b --batch 4 --acceptance eagle2_chain6_llama3_8b --draft eagle_head"


@pytest.mark.parametrize("name", ["run", "compare"])
def test_positions_beyond_those_observed_are_told_on_stderr(name):
    """The process was fitted to drafts of six tokens."""
    beyond, within = (call(name, *f"{DRAFTED} --tlp {tlp} --format json".split()) for tlp in (12, 7))
    label = "" if name == "run" else "papi: "
    assert re.search(rf"note: {label}\d+\.\d % of the drafted positions lie beyond", beyond.stderr)
    assert "drafted positions" not in within.stderr
    assert json.loads(beyond.stdout), "stdout is JSON alone"
