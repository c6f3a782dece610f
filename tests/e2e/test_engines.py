"""Engines from the command line: who says which engine it is, and what changes."""

import json

import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.errors import InputError

SERVED = ("--trace", "llama7b", "--workload", "azure_conversation", "--requests", "12")


def call(*arguments: str):
    result = CliRunner().invoke(papisim, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def figures(command: str, *arguments: str) -> dict:
    return json.loads(call(command, *arguments, "--format", "json", "--quiet").stdout)


def test_without_an_engine_a_run_is_that_of_the_captured_kernels():
    plain, none = (figures("run", "--hw", "h200_single", *SERVED, *more) for more in ((), ("--engine", "none")))
    assert plain == none
    assert plain["engine"] == "none"
    assert plain["busy_ratio"]["host"] == 0


@pytest.mark.parametrize("machine", ["h200_single", "papi", "pim_only"])
def test_every_machine_has_a_host(machine):
    run = figures("run", "--hw", machine, *SERVED, "--engine", "vllm")
    assert run["engine"] == "vllm"
    assert run["busy_ratio"]["host"] > 0
    assert run["decode_time_by_category_s"]["host"] > 0
    assert run["outcomes"]["served"] == 12


def test_a_synchronous_host_costs_more_than_one_that_is_hidden():
    hidden, serial = (
        figures("run", "--hw", "h200_single", *SERVED, "--engine", "vllm", "--set", f"engine.host.scheduling={how}")
        for how in ("asynchronous", "synchronous")
    )
    assert serial["tpot_mean_s"] - hidden["tpot_mean_s"] > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        ("--speculation", "dsde", "--acceptance", "eagle2_chain6_llama3_8b", "--draft", "eagle_head"),
        ("--tlp", "2"),
        ("--replicas", "2"),
        ("--batching", "disaggregated", "--set", "batching.link=nvlink"),
        ("--set", "overlap.kind=prompts"),
    ],
)
def test_an_engine_goes_with_drafts_replicas_disaggregation_and_overlap(options):
    run = figures("run", "--hw", "gpu_only", "--trace", "llama3-8b", "--requests", "8",
                  "--workload", "azure_conversation", "--engine", "vllm", *options)  # fmt: skip
    assert run["outcomes"]["served"] == 8
    assert run["busy_ratio"]["host"] > 0
    steps = run["prefill_s"] + run["decode_s"] + run["mixed_s"]
    assert run["overlapped_s"] < steps


def test_text_names_the_engine():
    assert "vllm: asynchronous host" in call("run", "--hw", "papi", "--trace", "llama7b", "--engine", "vllm").stdout
    compared = call("compare", "--hw", "papi", "--hw", "gpu_only", "--trace", "llama7b", "--engine", "trtllm").stdout
    assert "engine trtllm" in compared
    step = ("--op", "step", "--trace", "llama7b", "--rlp", "2", "--kv", "64")
    assert "engine eager" in call("price", "--hw", "h200", *step).stdout
    assert "engine sglang" in call("price", "--hw", "h200", *step, "--engine", "sglang").stdout
    assert "engine vllm" in call("calibrate", "alpha", "--trace", "llama7b", "--engine", "vllm").stdout


def refusal(*arguments: str) -> InputError:
    with pytest.raises(InputError) as refused:
        papisim.main(list(arguments), standalone_mode=False)
    return refused.value


def test_an_unknown_engine_is_refused_with_the_nearest_name():
    assert "did you mean 'vllm'?" in str(refusal("run", "--hw", "papi", "--trace", "llama7b", "--engine", "vlm"))


def test_a_broken_profile_is_refused_with_its_place(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("schema: papisim/engine/1\ndescription: mine\nfusion: {qvk: true}\nsources: {}\n")
    error = refusal("check", str(path))
    assert (error.place.file, error.place.line) == (str(path), 3)
    assert "did you mean 'qkv'?" in error.message
