"""``papisim price`` and ``papisim validate``: what a user sees."""

import csv
import io
import json

import pytest
from click.testing import CliRunner

from papisim.cli.price import command as price
from papisim.errors import InputError, NotModelled

ATTENTION = ["--hw", "attacc", "--op", "attention", "--heads-per-stack", "4", "--kv", "2048"]
RELEASED = ["--set", "mapping=attacc_released"]


def run(*options):
    result = CliRunner().invoke(price, options, catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def as_json(*options):
    return json.loads(run(*options, "--format", "json").stdout)


def test_an_attention_kernel_is_priced_in_cycles_seconds_joules_and_watts():
    price = as_json(*ATTENTION)
    assert price["schema"] == "papisim/price/1"
    assert price["time_s"] == pytest.approx(price["cycles"] * price["tck_s"])
    assert price["energy_j"] == pytest.approx(sum(price["energy"].values()))
    assert price["power_w_per_device"] == pytest.approx(price["energy_j"] / price["time_s"])
    assert price["power_w_per_device"] < price["power_budget_w"]
    assert price["bound"] == "column_gap"
    assert price["bank_bytes"] == 4 * 2 * 2048 * 128 * 2


def test_fields_of_the_device_can_be_set():
    limited, free = as_json(*ATTENTION, *RELEASED), as_json(*ATTENTION, *RELEASED, "--set", "power_limited=false")
    assert (limited["column_gap_cycles"], free["column_gap_cycles"]) == (6, 4)
    assert limited["cycles"] == pytest.approx(3810, rel=0.001)
    assert free["cycles"] == pytest.approx(2818, rel=0.001)


def test_a_table_names_everything():
    shown = run("--hw", "fc_pim", "--op", "linear", "--m", "4", "--k", "8192", "--n", "8192").stdout
    for word in ("linear on 1 × fc_pim", "time_s", "cycles", "dram_access", "power_budget_w", "116 W"):
        assert word in shown


def test_heads_of_a_stack_take_the_same_time_on_any_number_of_stacks():
    one, many = as_json(*ATTENTION), as_json(*ATTENTION, "--count", "7")
    assert one["time_s"] == many["time_s"]
    assert many["energy_j"] == pytest.approx(7 * one["energy_j"])


def test_other_devices_are_priced_too():
    price = as_json("--hw", "a100", "--op", "linear", "--m", "1", "--k", "8192", "--n", "8192")
    assert price["time_s"] > 8192 * 8192 * 2 / 2e12, "no faster than 2 TB/s deliver the weights"
    assert price["cycles"] is None


def test_a_table_of_kernels_comes_back_with_prices(tmp_path):
    table = tmp_path / "kernels.csv"
    table.write_text("op,heads_per_stack,kv,m,k,n,note\nattention,16,2048,,,,long\nlinear,,,4,8192,8192,fc\n")
    rows = list(csv.DictReader(io.StringIO(run("--hw", "attacc", "--batch", str(table), *RELEASED).stdout)))
    assert [row["note"] for row in rows] == ["long", "fc"]
    alone = as_json("--hw", "attacc", "--op", "attention", "--heads-per-stack", "16", "--kv", "2048", *RELEASED)
    assert int(rows[0]["cycles"]) == alone["cycles"]
    assert float(rows[0]["time_s"]) == alone["time_s"]
    assert float(rows[1]["energy_j"]) > 0


def test_the_command_stream_is_written(tmp_path):
    trace = tmp_path / "out.trace"
    result = run(*ATTENTION, "--commands", str(trace))
    lines = trace.read_text().splitlines()
    assert sum("MACAB" in line for line in lines) == 512
    assert "done at cycle" in result.stderr


def test_the_command_stream_replaces_no_file_that_is_there_unless_told_to(tmp_path):
    other = tmp_path / "passwd"
    other.write_text("root:x:0:0\n")
    with pytest.raises(InputError, match="is already there; choose another file or add --force"):
        run(*ATTENTION, "--commands", str(other))
    assert other.read_text() == "root:x:0:0\n"
    run(*ATTENTION, "--commands", str(other), "--force")
    assert "MACAB" in other.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hw", "attacc", "--op", "attention", "--kv", "3"], "--heads-per-stack: is missing"),
        (
            ["--hw", "attacc", "--op", "linear", "--m", "1", "--k", "1", "--n", "1", "--kv", "3"],
            "--kv: is no size of op",
        ),
        (["--hw", "nvlink3", "--op", "linear", "--m", "1", "--k", "1", "--n", "1"], "is a link"),
        (["--hw", "atacc", "--op", "linear"], "did you mean 'attacc'"),
        (["--hw", "attacc", "--set", "fpu.lane=8", "--op", "linear"], "did you mean 'lanes'"),
        (["--hw", "attacc", "--batch", "missing.csv"], "missing.csv: no such file"),
    ],
)
def test_wrong_input_is_one_clear_message(options, message):
    with pytest.raises(InputError) as refused:
        run(*options)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("op,m,k,n\nlinear,1,x,3\n", "kernels.csv:2: k: found 'x', expected a whole number"),
        ("op,m,k,n\nlinear,1,2,3\ngemm,1,2,3\n", "kernels.csv:3: op: found 'gemm'"),
        ("op,m,k,n\nlinear,0,2,3\n", "kernels.csv:2: m: found 0, expected at least 1"),
        ("m,k,n\n1,2,3\n", "no column 'op'"),
        ("op,m,k,n\n", "holds no kernels"),
    ],
)
def test_a_wrong_table_says_where(tmp_path, text, message):
    table = tmp_path / "kernels.csv"
    table.write_text(text)
    with pytest.raises(InputError) as refused:
        run("--hw", "attacc", "--batch", str(table))
    assert message in str(refused.value)


def test_what_the_released_mapping_does_not_know_it_does_not_price():
    with pytest.raises(NotModelled, match="TLP"):
        run(*ATTENTION, *RELEASED, "--tlp", "2")


def test_options_that_a_table_makes_useless_are_refused(tmp_path):
    table = tmp_path / "kernels.csv"
    table.write_text("op,m,k,n\nlinear,1,2,3\n")
    assert CliRunner().invoke(price, ["--hw", "attacc", "--batch", str(table), "--m", "3"]).exit_code == 2
