"""``papisim size`` as a user calls it."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from papisim.cli import papisim

TRAFFIC = """\
schema: papisim/requests/1
kind: poisson
description: short requests
n_requests: 30
rate_per_s: 50
lengths: {kind: fixed, input_tokens: 64, output_tokens: 8}
sources:
  n_requests: {choice: a test}
  rate_per_s: {choice: a test}
  lengths: {choice: a test}
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    (tmp_path / "traffic.yaml").write_text(TRAFFIC)
    monkeypatch.chdir(tmp_path)

    def go(*arguments: str):
        usual = ("--hw", "gpu_only,pim_only", "--trace", "llama7b", "--workload", "traffic.yaml", "-q")
        return CliRunner().invoke(papisim, ["size", *usual, *arguments])

    return go


def test_every_machine_is_sized_on_the_same_traffic_and_what_fails_first_is_named(call):
    done = call("--slo", "ttft=20ms,tpot=50ms", "--rate", "400", "--attain", "0.9", "--price", "gpu_only=12",
                "--format", "json", "--out", "out")  # fmt: skip
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["slo"] == {"ttft_s": 0.02, "tpot_s": 0.05, "e2e_s": None}
    gpu_only, pim_only = document["sizes"]
    assert gpu_only["rate_per_s"] == pim_only["rate_per_s"] == 400.0
    assert gpu_only["price_per_h"] == 12 * gpu_only["machines"]
    assert pim_only["price_per_h"] is None
    assert gpu_only["fails_first"] == "ttft"
    assert pd.read_csv("out/sizes.csv")["machines"].tolist() == [gpu_only["machines"], pim_only["machines"]]
    assert len(pd.read_csv("out/trials.csv")) == len(document["trials"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--slo", "ttf=1s"), "--slo: no target 'ttf'; did you mean 'ttft'?"),
        (("--slo", "ttft=1 kg"), "expected"),
        (("--slo", "ttft=1s", "--price", "papi=3"), "--price: 'papi' is no machine of --hw"),
    ],
)
def test_wrong_targets_and_prices_are_told(call, arguments, said):
    assert said in str(call(*arguments).exception)
