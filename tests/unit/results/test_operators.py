"""Where operators ran: shares add up, follow the steps, and are the same however the run was computed."""

import numpy as np
import pytest

from papisim.plan.phase import Category
from papisim.policies.placement.base import Operator
from papisim.record.steps import DECODING
from papisim.results.frames import frames
from papisim.results.metrics import summarise
from papisim.results.operators import candidates

DRAFT = "drafting={kind: model, trace: llama32-1b, device: gpu, elsewhere: [fc_pim]}"
MOVING = {"hw": "papi_attached", "trace": "llama3-8b", "batch": 64, "tlp": 8, "placement": "cheapest"}
DRAFTING = {
    "hw": "papi", "trace": "llama3-8b", "batch": 48, "placement": "cheapest", "speculation": "fixed", "acceptance": "always",
    "set": ("speculation.tlp=3", DRAFT),
}  # fmt: skip


def placed(run) -> dict[str, dict]:
    return {each["operator"]: each for each in summarise(run)["operators"]}


@pytest.fixture(scope="module")
def moving(run):
    return run(**MOVING)


@pytest.fixture(scope="module")
def drafting(run):
    return run(**DRAFTING)


@pytest.mark.parametrize("name", ["moving", "drafting"])
def test_shares_are_those_of_the_iterations_and_of_their_time(name, request):
    """The frame of steps has the device of each operator in each iteration; shares are counted from it anew."""
    run = request.getfixturevalue(name)
    steps = frames(run)["steps"]
    decode = steps[steps.kind != "prefill"]
    for operator, each in placed(run).items():
        column = decode[f"placed_{operator}"].dropna()
        time_s = decode.time_s[column.index]
        assert sum(row["iteration_ratio"] for row in each["on"]) == pytest.approx(1)
        for row in each["on"]:
            there = column == row["device"]
            assert row["iteration_ratio"] == pytest.approx(there.mean()), operator
            assert row["step_time_ratio"] == pytest.approx(time_s[there].sum() / time_s.sum()), operator
        assert each["n_switches"] == (column.to_numpy()[1:] != column.to_numpy()[:-1]).sum()


def test_attention_that_moves_is_on_both_devices_and_moves_more_often_than_never(moving):
    attention = placed(moving)["attention"]
    assert attention["candidates"] == ["attn_pim", "gpu"]
    assert {row["device"] for row in attention["on"] if row["iteration_ratio"]} == {"attn_pim", "gpu"}
    assert attention["n_switches"] > 0
    assert placed(moving)["fc"]["n_switches"] > 0


def test_the_kernels_of_operators_are_the_time_of_their_categories(moving, drafting):
    """All FC and attention of decoding belongs to operators but for the write of K and V, a kernel of the cache's home."""
    for run in (moving, drafting):
        sums = run.ledger.sums(*DECODING)
        by_operator = {name: sum(row["kernel_time_s"] for row in each["on"]) for name, each in placed(run).items()}
        assert by_operator["fc"] == pytest.approx(sums.time_by[Category.FC])
        assert 0.5 * sums.time_by[Category.ATTENTION] < by_operator["attention"] <= sums.time_by[Category.ATTENTION]
    drafts = by_operator["draft_fc"] + by_operator["draft_attention"]
    assert 0 < drafts < sums.time_by[Category.DRAFT], "norms, messages and other small kernels are the rest"


def test_operators_of_a_draft_model_have_the_devices_of_the_draft_model(drafting):
    found = candidates(drafting)
    assert found[Operator.DRAFT_FC] == found[Operator.DRAFT_ATTENTION] == ("gpu", "fc_pim")
    assert found[Operator.ATTENTION] == ("attn_pim",)
    assert Operator.EXPERTS not in found


def test_experts_are_an_operator_of_their_own(run):
    mixture = run("papi", "mixtral-8x7b", batch=32, tlp=2, placement="cheapest")
    found = placed(mixture)
    assert set(found) == {"fc", "attention", "experts"}
    sums = mixture.ledger.sums(*DECODING)
    both = sum(row["kernel_time_s"] for name in ("fc", "experts") for row in found[name]["on"])
    assert both == pytest.approx(sums.time_by[Category.FC])


def test_shares_are_the_same_layer_by_layer_and_one_iteration_at_a_time(run, moving):
    slow = run(**MOVING, fold=False, fast_forward=False)
    assert [row["n_switches"] for row in placed(slow).values()] == [
        row["n_switches"] for row in placed(moving).values()
    ]
    for name, each in placed(moving).items():
        for here, there in zip(each["on"], placed(slow)[name]["on"], strict=True):
            assert here["device"] == there["device"]
            numbers = ("iteration_ratio", "step_time_ratio", "kernel_time_s")
            assert [here[key] for key in numbers] == pytest.approx([there[key] for key in numbers], rel=1e-9)


SHORT = "workload.lengths={kind: fixed, input_tokens: 8, output_tokens: 3}"


@pytest.mark.parametrize(
    ("hw", "trace", "expected"),
    [("papi", "llama7b", 1), ("papi", "llama3-8b", 4), ("h200x8_ep", "deepseek-v3", 128 * (576 + 512) / 576)],
)
def test_attention_reads_a_number_once_for_each_query_head_of_its_group(run, hw, trace, expected):
    assert summarise(run(hw, trace, batch=1, set=(SHORT,)))["attention_intensity_per_tlp"] == pytest.approx(expected)


def test_prefill_alone_has_no_operators(run):
    one = run("papi", batch=2, set=(SHORT.replace("3}", "1}"),))
    assert summarise(one)["operators"] == []
    steps = frames(one)["steps"]
    assert set(steps.placed_fc) == {"gpu"}
    assert steps.placed_attention.isna().all(), "attention of prompts is no operator that is placed"
    assert np.isfinite(steps.time_s).all()
