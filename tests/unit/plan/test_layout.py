"""A part of a step is laid out from its key: equal keys have equal parts, and a planner never prices a step stale."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.ops.cost import Energy
from papisim.ops.lower import StepShape, chunk_lengths, decode_shape, prefill_lengths, prefill_shape
from papisim.ops.trace import read_trace
from papisim.plan.build import build_placement
from papisim.plan.layout import BodyKey, HeadKey, StepLayout, StepPart
from papisim.plan.machine import build_machine
from papisim.plan.phase import Category, Phase, seconds
from papisim.plan.step import StepPlanner


def planner(hw: str, trace: str = "llama7b") -> StepPlanner:
    experiment = load_experiment(RunOptions(hw=hw, trace=trace))
    machine, placement = build_machine(experiment.system), build_placement(experiment)
    return StepPlanner(read_trace(experiment.trace.path), machine, placement, seed=0)


#: shapes that differ in one dependency after another, so that a forgotten one gives the next shape the last one's price
SHAPES = [
    decode_shape(100, 100),
    StepShape(1, 100, 0, None, 100),  # a middle chunk
    StepShape(1, 100, 1, None, 100),  # a last chunk
    StepShape(2, 100, 0, None, 99),
    StepShape(2, 100, 2, None, 99),
    StepShape(2, 100, 2, None, 40),
    StepShape(50, 100, 50, None, 40),
    decode_shape(10, 100),
    decode_shape(2, 100, (0, 3)),
    StepShape(2, 100, 0, (3, 9)),
    decode_shape(1, 1),
    decode_shape(1, 2),
]


@pytest.mark.parametrize("trace", ["llama7b", "mixtral-8x7b"])
@pytest.mark.parametrize("hw", ["papi", "a100_attacc", "gpu_only", "attacc_only"])
def test_a_planner_that_has_seen_other_shapes_prices_a_step_as_a_new_one_does(hw: str, trace: str):
    for shapes in (SHAPES, SHAPES[::-1]):
        used = planner(hw, trace)
        for shape in shapes:
            assert used.layout(shape).time_s == planner(hw, trace).layout(shape).time_s, shape


@pytest.mark.parametrize(("hw", "middle_ms", "last_ms"), [("papi", 4.0825, 4.1042), ("a100_attacc", 3.9889, 4.0106)])
def test_a_last_chunk_after_a_middle_one_pays_for_what_comes_after_the_layers(
    hw: str, middle_ms: float, last_ms: float
):
    """Without ``wants_logits`` in the key the last chunk went without the final norm, 0.09 % of a step."""
    steps, lengths = planner(hw), chunk_lengths([(0, 100)])
    middle, last = (steps.prefill(StepShape(1, 100, rows, None, 100), lengths) for rows in (0, 1))
    assert 1e3 * seconds(middle) == pytest.approx(middle_ms, abs=5e-5)
    assert 1e3 * seconds(last) == pytest.approx(last_ms, abs=5e-5)


def test_a_prompt_after_as_many_decoding_rows_sends_no_queries_to_the_caches():
    """Without ``query_rows`` in the key it took 4.0878 ms, since decoding sends Q and fetches the context."""
    steps = planner("a100_attacc")
    steps.layout(decode_shape(100, 100))
    prompt = steps.prefill(prefill_shape([100]), prefill_lengths([100]))
    assert 1e3 * seconds(prompt) == pytest.approx(4.0106, abs=5e-5)


def test_steps_of_one_key_share_their_body():
    steps = planner("gpu_only")
    one, other = steps.layout(decode_shape(4, 8)), steps.layout(decode_shape(2, 8))
    assert one.parts == other.parts, "one candidate, so RLP decides nothing"
    many = steps.layout(StepShape(8, 8, 3))
    assert many.parts[0] is one.parts[0]
    assert many.parts[1] is not one.parts[1], "fewer logits"


def test_the_keys_hold_nothing_but_what_kernels_depend_on():
    key = planner("gpu_only").key(decode_shape(4, 8))
    assert key.body == BodyKey(8, 8, None, True, 8, ("gpu",) * len(key.body.devices), None)
    assert key.head == HeadKey(8, ("gpu",))
    assert planner("gpu_only").key(StepShape(4, 8, 0)).head is None
    experts = planner("papi", "mixtral-8x7b")
    assert experts.key(decode_shape(4, 8)).body.expert_rlp == 4
    assert experts.key(prefill_shape([8])).body.expert_rlp is None, "the prefill role places them"


def test_a_layout_of_several_parts_merges_phases_of_one_device_and_category():
    first, second = (StepPart([phase(s), phase(2 * s)]) for s in (1.0, 10.0))
    layout = StepLayout([first, second])
    assert layout.time_s == 33
    (merged,) = layout.items
    assert isinstance(merged, Phase)
    assert merged.total_s == 33
    assert StepLayout([first]).items == first.items, "one part is not merged"
    assert StepLayout().items == ()


def phase(time_s: float) -> Phase:
    return Phase("gpu", Category.FC, time_s, Energy())
