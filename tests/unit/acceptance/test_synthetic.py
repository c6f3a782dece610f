"""What an engine's benchmark is told yields what the process does."""

import json

import pytest

from papisim.acceptance import geometric
from papisim.acceptance.synthetic import measure, settings


@pytest.fixture(scope="module")
def found():
    return measure(geometric.Acceptance(geometric.Options(kind="geometric", alpha=0.6), 0), 4)


def test_a_geometric_process_has_the_powers_of_alpha(found):
    """40,000 rounds: the standard error of a share is below 0.003."""
    assert found.survival == pytest.approx([0.6, 0.36, 0.216, 0.1296], abs=0.01)
    assert found.tokens_per_step == pytest.approx(1 + sum(found.survival))
    assert 0.001 < found.tokens_per_step_error < 0.02


def test_vllm_takes_unconditional_shares_that_do_not_rise(found):
    config = json.loads(settings(found, "vllm"))
    rates = config["synthetic_acceptance_rates"]
    assert config["num_speculative_tokens"] == len(rates) == 4
    assert config["rejection_sample_method"] == "synthetic"
    assert rates == sorted(rates, reverse=True)
    assert rates == pytest.approx(found.survival, abs=1e-4)


def test_sglang_counts_the_target_s_own_token_and_tensorrt_llm_does_not(found):
    sglang = settings(found, "sglang").split()[0].partition("=")
    trtllm = settings(found, "trtllm").partition("=")
    assert sglang[0] == "SGLANG_SIMULATE_ACC_LEN"
    assert trtllm[0] == "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"
    assert float(sglang[2]) == pytest.approx(float(trtllm[2]) + 1)
    assert float(sglang[2]) == pytest.approx(found.tokens_per_step, abs=1e-3)


def test_llama_cpp_takes_the_same_shares_as_an_option(found):
    option, rates = settings(found, "llamacpp").split()
    assert option == "--spec-synthetic-acceptance-rates"
    assert [float(rate) for rate in rates.split(",")] == pytest.approx(found.survival, abs=1e-4)
