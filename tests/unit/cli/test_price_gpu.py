"""``papisim price`` on GPUs: what a user sees."""

import csv
import io
import json

import pytest
from click.testing import CliRunner

from papisim.cli.price import command as price
from papisim.errors import InputError

ATTENTION = ["--op", "attention", "--batch-size", "16", "--heads", "32", "--kv-heads", "8", "--kv", "1024"]
STEP = ["--op", "step", "--trace", "llama7b", "--rlp", "4", "--tlp", "2", "--kv", "512"]


def run(*options):
    result = CliRunner().invoke(price, ["--hw", "h200", *options], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def as_json(*options):
    return json.loads(run(*options, "--format", "json").stdout)


def test_a_matrix_product_says_its_library_and_its_energy_model():
    found = as_json("--op", "linear", "--m", "8", "--k", "4096", "--n", "4096")
    assert found["library"].startswith("cuBLAS")
    assert (found["source"], found["outside_fit"], found["energy_model"]) == ("corrected model", "no", "fitted")
    physics = as_json("--op", "linear", "--m", "8", "--k", "4096", "--n", "4096", "--set", "mode=model")
    assert physics["source"] == "model"
    assert physics["time_s"] != found["time_s"]
    assert found["energy_j"] == pytest.approx(sum(found["energy"].values()))
    assert found["energy"]["static_j"] > 0, "the board's joules hold what it draws idle"


def test_a_shape_outside_the_fit_is_flagged():
    assert as_json("--op", "linear", "--m", "9000", "--k", "4096", "--n", "4096")["outside_fit"].startswith(
        "outside the fit: m above 8192"
    )


def test_a_measured_table_is_used_where_it_holds_the_shape():
    linear = ["--op", "linear", "--k", "4096", "--n", "4096", "--set", "mode=table"]
    assert as_json(*linear, "--m", "20")["source"] == "measured table"
    assert as_json(*linear, "--m", "2000")["source"] == "corrected model"


def test_torch_does_not_pack_grouped_queries_of_several_tokens_and_a_library_that_does_is_faster():
    torch, packed = (
        as_json(*ATTENTION, "--tlp", "4", "--library", name)["time_s"] for name in ("sdpa", "sdpa_packed")
    )
    assert torch > 2 * packed
    assert as_json(*ATTENTION)["time_s"] < torch / 2, "a single token is packed"


def test_the_cache_has_as_many_heads_as_there_are_queries_if_nothing_is_said():
    sizes = ["--op", "attention", "--batch-size", "4", "--heads", "32", "--kv", "512"]
    assert as_json(*sizes) | {"kv_heads": 32} == as_json(*sizes, "--kv-heads", "32")


def test_prompts_have_an_operation_of_their_own():
    one, two = (
        as_json("--op", "prefill", "--batch-size", "8", "--heads", "32", "--tokens", n)["time_s"]
        for n in ("2048", "4096")
    )
    assert 3 < two / one < 4.5, "the square of the length"


def test_a_step_is_priced_by_class():
    step = as_json(*STEP)
    assert step["schema"] == "papisim/step-price/1"
    assert {"fc", "attention", "normalisation", "rotary"} <= {row["kernel_class"] for row in step["classes"]}
    assert step["n_kernels"] == sum(row["n_kernels"] for row in step["classes"]) > 1000
    assert step["time_s"] > sum(row["time_s"] for row in step["classes"]), "kernels wait for one another"
    assert "decode iteration of llama7b on 1 × h200" in run(*STEP).stdout


def test_a_table_mixes_operations_and_libraries(tmp_path):
    path = tmp_path / "kernels.csv"
    path.write_text(
        "op,m,k,n,batch_size,heads,kv_heads,kv,tlp,trace,rlp,library\n"
        "linear,8,4096,4096,,,,,,,,cublas_vllm\n"
        "attention,,,,8,32,8,1024,4,,,sdpa-cudnn-packed\n"
        "step,,,,,,,512,2,llama7b,4,\n"
    )
    rows = list(csv.DictReader(io.StringIO(run("--batch", str(path)).stdout)))
    assert all(float(row["time_s"]) > 0 and float(row["energy_j"]) > 0 for row in rows)
    assert float(rows[2]["time_s"]) == as_json(*STEP)["time_s"]
    assert (
        float(rows[1]["time_s"])
        < as_json(
            "--op", "attention", "--batch-size", "8", "--heads", "32", "--kv-heads", "8", "--kv", "1024", "--tlp", "4"
        )["time_s"]
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--op", "step", "--rlp", "4", "--kv", "512"], "--trace: is missing"),
        (["--op", "step", "--trace", "llama7b", "--kv", "512"], "--rlp: is missing"),
        (["--op", "step", "--trace", "llama7b", "--rlp", "1", "--kv", "5", "--m", "1"], "--m: is no size of op step"),
        ([*ATTENTION, "--library", "cublas12"], "did you mean 'cublas13'"),
        (["--op", "attention", "--batch-size", "1", "--heads", "8", "--kv-heads", "3", "--kv", "5"], "expected a divisor of the 8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(options, said):
    with pytest.raises(InputError) as error:
        run(*options)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "options", [["--op", "linear", "--m", "1", "--k", "64", "--n", "64", "--library", "cublas"], STEP]
)
def test_a_pim_stack_has_no_libraries_and_no_unfused_steps(options):
    result = CliRunner().invoke(price, ["--hw", "fc_pim", *options], catch_exceptions=True)
    assert isinstance(result.exception, InputError)
    assert "GPUs" in str(result.exception)


def test_a_packed_kernel_is_priced_and_said_to_be_outside_the_fit():
    asked = ("--op", "linear", "--m", "1", "--k", "8192", "--n", "8192")
    plain, packed = as_json(*asked), as_json(*asked, "--weight-bits", "4")
    assert 2 < plain["time_s"] / packed["time_s"] < 16 / 4.125
    assert packed["read_bytes"] == pytest.approx(plain["read_bytes"] * 4.125 / 16, rel=1e-3)
    assert (plain["outside_fit"], packed["outside_fit"]) == (
        "no",
        "outside the fit: packed weights, inputs or caches",
    )


def test_a_packed_cache_is_read_in_fewer_bytes():
    assert as_json(*ATTENTION, "--kv-bits", "8")["read_bytes"] < 0.6 * as_json(*ATTENTION)["read_bytes"]


@pytest.mark.parametrize(("asked", "message"), [
    (("--weight-bits", "5"), "--weight-bits: found 5, expected 16, 8 or 4"),
    (("--activation-bits", "8"), "expected weight_bits of at most 8"),
    (("--kv-bits", "8"), "--kv-bits: is no size of op linear"),
])  # fmt: skip
def test_widths_that_are_not_modelled_or_not_of_the_kernel_are_refused(asked, message):
    with pytest.raises(InputError, match=message):
        run("--op", "linear", "--m", "1", "--k", "64", "--n", "64", *asked)


def of_machine(*options):
    sizes = ["--trace", "llama7b", "--rlp", "4", "--format", "json", *options]
    return CliRunner().invoke(price, ["--hw", "papi", "--op", "step", *sizes], catch_exceptions=True)


def test_a_step_of_a_machine_is_priced_by_part():
    short, long = (json.loads(of_machine("--kv", kv).stdout) for kv in ("512", "4096"))
    seconds = [{part["part"]: part["time_s"] for part in step["parts"]} for step in (short, long)]
    assert short["schema"] == "papisim/machine-step-price/1"
    assert short["time_s"] == pytest.approx(sum(seconds[0].values()), rel=1e-9), "one device at a time, and no host"
    assert seconds[1]["attention"] > 4 * seconds[0]["attention"]
    assert seconds[1]["fc"] == seconds[0]["fc"]


@pytest.mark.parametrize("option", ["--library", "--count"])
def test_options_of_a_part_are_refused_for_a_machine(option):
    result = of_machine("--kv", "512", option, "2")
    assert result.exit_code == 2
    assert f"{option} is for a device part" in result.stderr
