"""``papisim explain`` as a user calls it."""

import json

import pytest
from click.testing import CliRunner, Result

from papisim.cli import papisim
from papisim.errors import DoesNotFit, InputError

SHORT = ["--set", "workload.lengths={kind: fixed, input_tokens: 32, output_tokens: 24}"]
ASKED = ["--hw", "papi", "--trace", "llama7b", "--batch", "4", *SHORT]


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(papisim, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def test_the_page_says_where_time_goes_what_it_is_sensitive_to_and_which_changes_help():
    page = call("explain", *ASKED, "--top", "5").stdout
    headings = (
        "Where the time goes",
        "Sensitivity of throughput",
        "Best changes (numbers improved by 20%, whole numbers by at least one)",
    )
    assert [page.index(heading) for heading in headings] == sorted(page.index(heading) for heading in headings)
    for shown in ("critical resource:", "all_reduce", "link latency", "% per %", "--set ", "others"):
        assert shown in page


def test_json_has_units_in_its_keys_and_shares_that_add_up_to_the_run():
    explained = json.loads(call("explain", *ASKED, "--format", "json", "--changes", "1").stdout)
    run = json.loads(call("run", *ASKED, "--format", "json", "--quiet").stdout)
    assert explained["schema"] == "papisim/explanation/1"
    assert explained["throughput_tokens_per_s"] == pytest.approx(run["throughput_tokens_per_s"], rel=1e-12)
    assert explained["time_s"] == pytest.approx(run["makespan_s"], rel=1e-12)
    assert abs(sum(row["time_ratio"] for row in explained["spent"]) - 1) < 1e-9
    assert explained["critical_busy_ratio"] == pytest.approx(max(run["busy_ratio"].values()))
    assert explained["elasticity_method"] == "repricing"
    first = explained["changes"][0]
    flags = [part for text in first["set"] for part in ("--set", text)]
    flags += ["--placement", first["placement"]] if first["placement"] else []
    again = json.loads(call("run", *ASKED, *flags, "--format", "json", "--quiet").stdout)
    assert again["throughput_tokens_per_s"] == pytest.approx(first["throughput_tokens_per_s"], rel=1e-12)


def test_a_larger_step_yields_more():
    def gain(step: str) -> float:
        page = json.loads(call("explain", *ASKED, "--format", "json", "--step", step).stdout)
        return max(change["speed_up_ratio"] for change in page["changes"] if change["kind"] in ("number", "count"))

    assert gain("0.5") > gain("0.2") > 1


def test_a_run_that_cannot_be_is_refused_as_run_refuses_it():
    asked = ["--hw", "papi", "--trace", "gpt3-175b", "--set", "devices.fc_pim.count=2"]
    refusals = [CliRunner().invoke(papisim, [command, *asked]).exception for command in ("explain", "run")]
    assert isinstance(refusals[0], DoesNotFit)
    assert str(refusals[0]) == str(refusals[1])


def test_decoding_alone_is_explained_without_the_prompts():
    run = json.loads(call("run", *ASKED, "--format", "json", "--quiet").stdout)
    explained = json.loads(call("explain", *ASKED, "--of", "decode", "--format", "json", "--changes", "1").stdout)
    assert explained["time_s"] == pytest.approx(run["decode_s"])
    assert {row["step"] for row in explained["spent"]} == {"decode"}
    assert sum(row["time_ratio"] for row in explained["spent"]) == pytest.approx(1)
    prompts = [each for each in explained["elasticities"] if "prefill" in each["parameter"]]
    assert prompts == [], "kernels for prompts have no part in it"
    assert explained["throughput_tokens_per_s"] == pytest.approx(4 * 23 / run["decode_s"])


def test_prompts_alone_hang_on_the_tensor_cores():
    long = ["--set", "workload.lengths={kind: fixed, input_tokens: 4096, output_tokens: 2}"]
    asked = ["--hw", "gpu_only", "--trace", "llama7b", "--batch", "4", *long, "--of", "prefill", "--format", "json"]
    explained = json.loads(call("explain", *asked, "--changes", "1").stdout)
    hardware = [each for each in explained["elasticities"] if not each["software"]]
    assert "devices.gpu.part.peak_flop_per_s" in [each["parameter"] for each in hardware[:2]]


def test_steps_of_a_kind_that_there_is_none_of_cannot_be_explained():
    one = ["--set", "workload.lengths={kind: fixed, input_tokens: 32, output_tokens: 1}"]
    result = CliRunner().invoke(papisim, ["explain", *ASKED[:6], *one, "--of", "decode"])
    assert isinstance(result.exception, InputError)
    assert "no step of this run is of the kind 'decode'" in str(result.exception)


def test_replicas_that_wait_are_waiting_and_shares_are_of_all_their_time():
    open_loop = ["--hw", "gpu_only", "--trace", "llama7b", "--workload", "azure_conversation", "--requests", "6"]
    short = ["--set", "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 16}", "--replicas", "2"]
    asked = ["explain", *open_loop, *short, "--changes", "1", "--top", "2", "--format", "json"]
    explained = json.loads(call(*asked).stdout)
    assert explained["elasticity_method"] == "simulation"
    worked = sum(row["time_ratio"] for row in explained["spent"])
    assert worked + explained["other_s"] / (2 * explained["time_s"]) == pytest.approx(1)
    assert 0 < worked < 1
    assert 0 < explained["critical_busy_ratio"] < worked
