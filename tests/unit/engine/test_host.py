"""The host of an engine: in series with the devices or hidden by them, and what it launches itself."""

from __future__ import annotations

import numpy as np
import pytest

from papisim.config.engine import GraphsSpec, HostSpec
from papisim.engine.host import Host, StepSize
from papisim.ops.cost import Energy
from papisim.ops.kernel import Attention, FcRole, Linear
from papisim.plan.graphs import Graphs
from papisim.plan.layout import StepLayout
from papisim.plan.phase import Category, Phase, Work, seconds

STEP_S, REQUEST_S, TOKEN_S, LAUNCH_S = 1e-3, 1e-5, 1e-7, 5e-5
SIZES = GraphsSpec(captured="sizes", sizes=[1, 4, 16], mixed="pieces")


def host(scheduling: str, graphs: GraphsSpec = SIZES, stages: int = 1) -> Host:
    spec = HostSpec(
        scheduling=scheduling, step_s=STEP_S, request_s=REQUEST_S, prompt_token_s=TOKEN_S, launch_s=LAUNCH_S
    )
    return Host(spec, Graphs(graphs), stages)


def kernels(n: int, time_s: float, item: object = None, category: Category = Category.FC) -> Phase:
    item = item or Linear(FcRole.QKV, 1, 8, 8)
    return Phase("gpu", category, time_s / n, Energy(), repeats=n, work=(Work(item, 1, time_s / n, "memory"),))


def step_s(of: Host, size: StepSize, phases: list[Phase]) -> float:
    own, devices_s = of.phases(size, StepLayout(), phases), seconds(phases)
    return devices_s + seconds(own) - of.hidden_s(size, own, devices_s)


@pytest.mark.parametrize("devices_s", [1e-4, 5e-3])
def test_a_captured_step_takes_the_sum_or_the_longer_of_host_and_devices(devices_s):
    size, phases = StepSize(requests=4, rows=4), [kernels(100, devices_s)]
    own_s = STEP_S + 4 * REQUEST_S
    assert step_s(host("synchronous"), size, phases) == pytest.approx(own_s + devices_s)
    assert step_s(host("asynchronous"), size, phases) == pytest.approx(max(own_s, devices_s))


@pytest.mark.parametrize("devices_s", [1e-4, 5e-3])
def test_the_devices_wait_for_an_exposed_share_of_the_host_alone(devices_s):
    size, own_s = StepSize(requests=4, rows=4), STEP_S + 4 * REQUEST_S
    spec = HostSpec(scheduling="asynchronous", step_s=STEP_S, request_s=REQUEST_S, exposed_ratio=0.25)
    of = Host(spec, Graphs(SIZES))
    expected_s = max(own_s, devices_s + own_s / 4)
    assert step_s(of, size, [kernels(100, devices_s)]) == pytest.approx(expected_s)
    assert devices_s + of.added_s(size, devices_s) == pytest.approx(expected_s)


@pytest.mark.parametrize("devices_s", [1e-4, 50e-3])
def test_beyond_the_largest_graph_each_kernel_is_launched_while_the_devices_run(devices_s):
    size, phases = StepSize(requests=1, rows=17, prompt_tokens=17), [kernels(100, devices_s)]
    own_s, launches_s = STEP_S + REQUEST_S + 17 * TOKEN_S, 100 * LAUNCH_S
    assert step_s(host("synchronous"), size, phases) == pytest.approx(own_s + max(devices_s, launches_s))
    assert step_s(host("asynchronous"), size, phases) == pytest.approx(max(devices_s, own_s + launches_s))


def test_a_captured_step_with_prompts_launches_graphs_between_attention_kernels():
    attention = Attention(1, 8, 8, 8, 36, 4, 4, 64, causal=True)
    phases = [kernels(100, 1e-6), kernels(10, 1e-6, attention, Category.ATTENTION)]
    size = StepSize(requests=1, rows=8, prompt_tokens=8)
    (phase,) = host("synchronous").phases(size, StepLayout(), phases)
    assert phase.total_s == pytest.approx(STEP_S + REQUEST_S + 8 * TOKEN_S + (3 * 10 + 1) * LAUNCH_S)
    assert phase.resource == "host"
    assert phase.category is Category.HOST


def test_each_serial_step_of_a_draft_model_is_one_graph():
    size, drafts = StepSize(requests=2, rows=8, draft_steps=3), [kernels(60, 1e-3, category=Category.DRAFT)]
    (phase,) = host("synchronous").phases(size, StepLayout(), drafts)
    assert phase.total_s == pytest.approx(STEP_S + 2 * REQUEST_S + 3 * LAUNCH_S)
    (phase,) = host("synchronous", GraphsSpec(captured="none", mixed="none")).phases(size, StepLayout(), drafts)
    assert phase.total_s == pytest.approx(STEP_S + 2 * REQUEST_S + 60 * LAUNCH_S)


def test_the_host_prepares_each_microbatch_of_a_pipeline():
    for requests, steps in ((1, 1), (8, 3)):
        size = StepSize(requests=requests, rows=requests)
        (phase,) = host("synchronous", stages=3).phases(size, StepLayout(), [])
        assert phase.total_s == pytest.approx(steps * STEP_S + requests * REQUEST_S)


@pytest.mark.parametrize("scheduling", ["synchronous", "asynchronous"])
def test_many_steps_hide_what_each_of_them_hides(scheduling):
    of, size, devices_s = host(scheduling), StepSize(requests=4, rows=4), np.linspace(1e-4, 5e-3, 9)
    own = of.phases(size, StepLayout(), [])
    each = [of.hidden_s(size, own, float(time_s)) for time_s in devices_s]
    assert of.hidden_of_many(size, own, devices_s) == pytest.approx(each)


def test_a_host_without_times_has_no_phase():
    free = Host(HostSpec(), Graphs(GraphsSpec()))
    assert free.phases(StepSize(4, 4), StepLayout(), [kernels(10, 1.0)]) == []
    assert not free.looks_ahead
