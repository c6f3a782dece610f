"""What an operator would gain elsewhere is what a run with the operator pinned there gains."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.diagnosis.operators import operator_gains
from papisim.diagnosis.scope import Scope
from papisim.engine.run import simulate
from papisim.policies.placement.base import Operator
from papisim.report.console.explanation import most_from_moving

SHORT = "workload.lengths={kind: uniform, input_tokens: 300, output_tokens: 60, min_ratio: 0.3}"
LONG = SHORT.replace("300", "3000")
DRAFT = "drafting={kind: model, trace: llama32-1b, device: gpu}"
ATTACHED = RunOptions(hw="papi_attached", trace="llama3-8b", batch=24, tlp=8, placement="papi", set=(LONG,))
DRAFTING = RunOptions(
    hw="papi", trace="llama3-8b", batch=8, speculation="fixed", acceptance="always", set=(SHORT, "speculation.tlp=3", DRAFT)
)  # fmt: skip


def run_of(options: RunOptions, *overrides: str, **changed: object):
    return simulate(load_experiment(options.model_copy(update={"set": (*options.set, *overrides), **changed})))


def gains_of(options: RunOptions, scope: Scope = Scope.RUN):
    run = run_of(options)
    return run, {each.operator: each for each in operator_gains(options, run, scope)}


@pytest.fixture(scope="module")
def attached():
    return gains_of(ATTACHED, Scope.DECODE)


@pytest.fixture(scope="module")
def drafting():
    return gains_of(DRAFTING)


def thresholds(run, **others: float) -> str:
    """Return the thresholds of ``papi_operators`` that place FC as the run did, and others as given."""
    given = {"fc": run.experiment.system.placement.alpha, **others}
    return f"placement.thresholds={{{', '.join(f'{name}: {value}' for name, value in given.items())}}}"


def test_fc_on_one_device_is_the_run_with_fc_pinned(attached):
    now, gains = attached
    pinned = {device: run_of(ATTACHED, placement=f"pinned:{device}") for device in ("gpu", "fc_pim")}
    rates = {device: Scope.DECODE.tokens_per_s(run) for device, run in pinned.items()}
    best = max(rates, key=rates.__getitem__)
    whole = gains[Operator.FC].whole
    assert whole.device == best
    assert whole.time_s == Scope.DECODE.time_s(pinned[best])
    assert whole.speed_up_ratio == pytest.approx(rates[best] / Scope.DECODE.tokens_per_s(now))


def test_attention_on_the_gpu_is_the_run_with_a_threshold_that_every_intensity_exceeds(attached):
    now, gains = attached
    pinned = run_of(ATTACHED, thresholds(now, attention=0), placement="papi_operators")
    assert gains[Operator.ATTENTION].whole.device == "gpu"
    assert gains[Operator.ATTENTION].whole.time_s == pytest.approx(Scope.DECODE.time_s(pinned), rel=1e-12)
    assert gains[Operator.ATTENTION].overrides == ()


def test_the_fastest_device_of_each_iteration_is_never_slower_than_one_device(attached, drafting):
    for (now, gains), scope in ((attached, Scope.DECODE), (drafting, Scope.RUN)):
        for each in gains.values():
            assert each.each.time_s <= each.whole.time_s * (1 + 1e-12)
            assert each.each.time_s <= scope.time_s(now) * (1 + 1e-12)


def test_one_operator_moved_alone_is_the_oracle_where_it_alone_has_a_choice():
    options = ATTACHED.model_copy(update={"hw": "papi", "trace": "llama7b"})
    _, gains = gains_of(options)
    assert gains[Operator.FC].each.time_s == Scope.RUN.time_s(run_of(options, placement="cheapest"))


def test_the_operator_that_gains_most_is_first_and_said(attached):
    """Grouped queries at TLP 8 on Attn-PIM are bound by its FPUs; GPUs on the same stacks are not."""
    now, gains = attached
    assert list(gains) == [Operator.ATTENTION, Operator.FC]
    assert gains[Operator.ATTENTION].speed_up_ratio > 1.15

    class Explained:
        operators, scope, time_s = list(gains.values()), Scope.DECODE, Scope.DECODE.time_s(now)

    sentence = most_from_moving(Explained)  # type: ignore[arg-type] # all that the sentence reads
    assert sentence.startswith("attention would gain most from moving: on ")
    assert f"{gains[Operator.ATTENTION].speed_up_ratio:.3f}×" in sentence


def test_a_draft_model_is_tried_where_its_weights_are_and_what_to_set_is_said(drafting):
    """Brute force: the draft source names FC-PIM, and thresholds pin one of its operators there and the other to the GPUs."""
    now, gains = drafting
    draft_fc = gains[Operator.DRAFT_FC]
    assert draft_fc.overrides == ("drafting.elsewhere=[fc_pim]",)
    assert draft_fc.devices == ("gpu",)
    pins = thresholds(now, draft_fc=1000000000, draft_attention=0)
    pinned = run_of(DRAFTING, *draft_fc.overrides, pins, placement="papi_operators")
    assert draft_fc.whole.time_s == pytest.approx(Scope.RUN.time_s(pinned), rel=1e-12)
    assert draft_fc.speed_up_ratio > 1.1
    assert dict(draft_fc.refused) == {}
    assert gains[Operator.ATTENTION].overrides[0].startswith("roles.attention_elsewhere=[")


def test_shares_of_operators_bound_what_they_can_gain(drafting):
    """No operator gains more time than its kernels take."""
    now, gains = drafting
    for each in gains.values():
        saved_s = Scope.RUN.time_s(now) - each.each.time_s
        if each.operator is not Operator.ATTENTION:  # whose messages to the caches are saved, too
            assert saved_s <= each.kernel_s


def test_a_machine_of_one_device_has_no_other_place_for_any_operator():
    run, gains = gains_of(RunOptions(hw="gpu_only", trace="llama7b", batch=2, set=(SHORT,)))
    assert {each.operator: (each.whole, each.each, each.overrides) for each in gains.values()} == {
        Operator.FC: (None, None, ()), Operator.ATTENTION: (None, None, ()),
    }  # fmt: skip

    class Explained:
        operators, scope, time_s = list(gains.values()), Scope.RUN, Scope.RUN.time_s(run)

    assert most_from_moving(Explained) == (  # type: ignore[arg-type]
        "No operator has another device: the machine has none that could run it."
    )


def test_prompts_are_computed_where_the_system_says():
    run = run_of(ATTACHED)
    assert operator_gains(ATTACHED, run, Scope.PREFILL) == []
