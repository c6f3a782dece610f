"""Operators that move: what decides, what a fetch costs, and that no policy beats the oracle."""

from itertools import product

import numpy as np
import pytest

from papisim.calibration.operators import Assigned
from papisim.config.experiment import RunOptions, load_experiment
from papisim.errors import InputError
from papisim.ops.lower import decode_lengths, decode_shape, lower_attention, ragged_lengths
from papisim.ops.trace import read_trace
from papisim.plan.build import build_placement
from papisim.plan.machine import build_machine
from papisim.plan.phase import Category, seconds
from papisim.plan.placing import attention_intensity
from papisim.plan.step import StepPlanner
from papisim.policies.placement.base import Operator

ELSEWHERE = ["roles.attention_elsewhere=[gpu]"]


def planner(hw="papi", trace="llama3-8b", policy=None, **options):
    options = {"placement": "papi"} | options  # nothing is calibrated where a policy is given
    experiment = load_experiment(RunOptions(hw=hw, trace=trace, **options))
    model = read_trace(experiment.trace.path)
    return StepPlanner(model, build_machine(experiment.system), policy or build_placement(experiment), seed=0), model


def step(plan, rlp=4, tlp=2, cached=1000, *, fold=True):
    lengths = decode_lengths(rlp, tlp, rlp * cached, cached)
    return plan.decode(decode_shape(rlp, rlp * tlp), lengths, fold=fold)


ON_GPU = Assigned({Operator.ATTENTION: "gpu"})


@pytest.mark.parametrize(
    ("trace", "tlp", "expected"),
    [("llama7b", 8, 8), ("llama3-8b", 8, 32), ("llama3-70b", 2, 16), ("deepseek-v3", 1, 128 * (576 + 512) / 576)],
)
def test_intensity_of_attention_is_its_tokens_and_the_query_heads_of_a_kv_head(trace, tlp, expected):
    _, model = planner(trace=trace)
    kernel = next(each for block in model.blocks for each in block.kernels if each.attention is not None)
    lowered = lower_attention(kernel, model, decode_lengths(3, tlp, 3000, 1000))
    assert attention_intensity(lowered) == pytest.approx(expected)


def test_a_policy_sees_the_intensity_of_each_operator():
    seen = {}
    plan, _ = planner(
        trace="mixtral-8x7b", set=ELSEWHERE, policy=Assigned({}, lambda v: seen.update({v.operator: v}))
    )
    step(plan, rlp=4, tlp=2)
    assert seen[Operator.FC].intensity == 8
    assert seen[Operator.ATTENTION].intensity == 2 * 4
    # eight rows choose two of eight experts each: 16 choices over the 8·(1 − (3/4)^8) experts that get any
    assert seen[Operator.EXPERTS].intensity == pytest.approx(16 / (8 * (1 - 0.75**8)))
    assert seen[Operator.ATTENTION].candidates == ("attn_pim", "gpu")


def test_attention_over_a_link_fetches_the_cache_in_every_layer_and_sends_no_queries():
    plan, model = planner(set=ELSEWHERE, policy=ON_GPU)
    n_layers, heads, width = model.model.n_layers, model.model.n_kv_heads, model.model.head_dim
    new_bytes, prefix_bytes = 8 * 2 * heads * width * 2, 4 * 1000 * 2 * heads * width * 2
    sent = [phase for phase in step(plan, fold=False) if phase.resource == "pcie"]
    assert [phase.work[0].item.payload_bytes for phase in sent] == [new_bytes, prefix_bytes] * n_layers
    assert not [phase for phase in step(plan) if phase.resource == "attn_pim" and phase.flop]


def test_attention_beside_the_caches_costs_what_the_gpu_takes_and_no_message():
    at_home, _ = planner("papi_attached", placement="papi")
    on_gpu, model = planner("papi_attached", policy=ON_GPU)
    assert {phase.resource for phase in step(on_gpu) if phase.category is Category.COMMUNICATION} == {"nvlink"}
    kernel = next(each for block in model.blocks for each in block.kernels if each.attention is not None)
    lowered = lower_attention(kernel, model, decode_lengths(4, 2, 4000, 1000))
    price = build_machine(load_experiment(RunOptions(hw="papi_attached", trace="llama3-8b", placement="papi")).system)
    attended = [p for p in step(on_gpu) if p.category is Category.ATTENTION and p.resource == "gpu"]
    assert seconds(attended) == pytest.approx(32 * price.price("gpu", lowered).time_s)
    assert {p.resource for p in step(at_home) if p.category is Category.ATTENTION} == {"attn_pim"}


def test_a_fetch_over_pcie_never_pays_for_multi_head_attention_and_the_oracle_stays_at_home():
    oracle, _ = planner(trace="llama7b", set=ELSEWHERE, placement="cheapest")
    assert {p.resource for p in step(oracle, rlp=64, cached=4000) if p.category is Category.ATTENTION} == {"attn_pim"}


@pytest.mark.parametrize(("hw", "trace"), [("papi", "llama3-8b"), ("papi_attached", "llama3-8b"), ("papi_attached", "mixtral-8x7b"), pytest.param("papi_attached", "gpt-oss-120b", marks=pytest.mark.slow)])  # fmt: skip
def test_no_assignment_of_operators_beats_the_oracle(hw, trace):
    extra = {"set": ELSEWHERE} if hw == "papi" else {}
    oracle, _ = planner(hw, trace, placement="cheapest", **extra)
    operators = (Operator.FC, Operator.ATTENTION, Operator.EXPERTS)
    others = [
        planner(hw, trace, policy=Assigned(dict(zip(operators, devices, strict=True))), **extra)[0]
        for devices in product(("gpu", "fc_pim"), ("gpu", "attn_pim"), ("gpu", "fc_pim"))
    ]
    for rlp, tlp, cached in product((1, 9, 70), (1, 4), (300, 20_000)):
        best = seconds(step(oracle, rlp, tlp, cached))
        assert all(best <= seconds(step(other, rlp, tlp, cached)) * (1 + 1e-12) for other in others)


@pytest.mark.parametrize(
    "trace", ["llama3-8b", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt-oss-120b", "deepseek-v3"))]
)
def test_folding_changes_nothing_where_attention_is_elsewhere(trace):
    plan, _ = planner(trace=trace, set=[*ELSEWHERE, "devices.fc_pim.count=300"], policy=ON_GPU)
    folded, unfolded = (step(plan, fold=fold) for fold in (True, False))
    for category in Category:
        assert seconds(p for p in folded if p.category is category) == pytest.approx(
            seconds(p for p in unfolded if p.category is category), rel=1e-12
        )


def test_iterations_are_alike_until_the_first_whose_attention_moves():
    plan, _ = planner("papi_attached", placement="cheapest")
    shape = decode_shape(8, 8)

    def device(cached):
        lengths = decode_lengths(8, 1, 8 * cached, cached)
        return plan.layout(shape, lengths).slots[0].device

    start, n = 5000, 6000
    devices = [device(start + number) for number in range(0, n, 50)]
    assert set(devices) == {"attn_pim", "gpu"}, "the test needs a cache at which attention moves"
    alike = plan.placed_alike(shape, decode_lengths(8, 1, 8 * start, start), n)
    assert alike < n
    assert device(start) == device(start + alike - 1) != device(start + alike)


def test_ragged_drafts_are_placed_and_priced():
    plan, _ = planner("papi_attached", placement="cheapest")
    cached, rows = np.array([9000, 4000]), np.array([9, 3])
    assert seconds(plan.decode(decode_shape(2, 12), ragged_lengths(cached, rows))) > 0


@pytest.mark.parametrize(
    ("names", "message"),
    [("[gpus]", "no device 'gpus' in this system; did you mean 'gpu'"), ("[attn_pim]", "names 'attn_pim' a second time")],
)  # fmt: skip
def test_devices_of_attention_must_be_there_and_differ(names, message):
    with pytest.raises(InputError, match=message):
        planner(set=[f"roles.attention_elsewhere={names}"])
