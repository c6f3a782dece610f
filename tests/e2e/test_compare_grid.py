"""Grids on the command line, as a user asks for them."""

import csv
import io
import json

import pytest
from click.testing import CliRunner

from papisim.cli import papisim

SHORT = ("--set", "workload.lengths={kind: fixed, input_tokens: 16, output_tokens: 4}", "--quiet")


def call(*arguments: str, status: int = 0):
    done = CliRunner().invoke(papisim, [*arguments, *SHORT])
    assert done.exit_code == status, done.output
    return done


@pytest.fixture(scope="module")
def grid() -> dict:
    asked = ("--hw", "papi,pim_only", "--trace", "opt1.3b,llama7b", "--batch", "1,2", "--workers", "1")
    return json.loads(call("compare", *asked, "--format", "json").stdout)


def test_a_point_of_a_grid_has_the_figures_and_ratios_of_a_comparison_of_its_own(grid):
    rows = {(row["hw"], row["trace"], row["batch"]): row for row in grid["rows"]}
    assert len(rows) == 8
    alone = call("compare", "--hw", "papi,pim_only", "--trace", "llama7b", "--batch", "2", "--format", "csv").stdout
    for expected in csv.DictReader(io.StringIO(alone)):
        found = rows[expected["machine"], "llama7b", 2]
        for name in ("throughput_tokens_per_s", "energy_per_token_j", "speed_up_ratio", "energy_efficiency_ratio"):
            assert found[name] == float(expected[name])


def test_a_grid_is_a_table_per_model_and_a_point_that_cannot_run_is_an_empty_place():
    asked = ("--hw", "papi", "--placement", "cheapest,pinned:gpu", "--trace", "opt1.3b,llama7b", "--batch", "1,2")
    said = call("compare", *asked, "--set", "devices.fc_pim.count=1", "--workers", "1").stdout
    text = " ".join(said.split())
    assert "tokens/s · trace opt1.3b" in text
    assert "energy/token · trace llama7b" in text
    assert "ratios to cheapest at the same place" in text
    assert "the weights of llama7b do not fit into 'fc_pim'" in text


def test_a_sweep_takes_the_same_axes_with_a_file_or_without(tmp_path):
    plain = call(
        "sweep", "--hw", "papi", "--trace", "llama7b", "--batch", "1,2", "--workers", "1", "--format", "json"
    )
    file = tmp_path / "space.yaml"
    file.write_text(
        "schema: papisim/sweep/1\ndescription: x\nbase: {batch: 8}\nspace: {hw: [papi], trace: [opt1.3b]}\n"
    )
    asked = ("sweep", str(file), "--trace", "llama7b", "--batch", "1,2", "--workers", "1", "--format", "json")
    rate = [
        [(row["batch"], row["throughput_tokens_per_s"]) for row in json.loads(each.stdout)["rows"]]
        for each in (plain, call(*asked))
    ]
    assert rate[0] == rate[1]
    assert [batch for batch, _ in rate[0]] == [1, 2]
    assert "expected FILE, or --hw and --trace" in call("sweep", "--batch", "1,2", status=2).output
