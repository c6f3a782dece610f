"""Room for KV caches: device memory less weights, the smaller room of target and draft model."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.errors import DoesNotFit
from papisim.ops.lower import kv_bytes_per_token, weight_bytes
from papisim.ops.trace import KernelTrace, read_trace
from papisim.plan.machine import Machine, build_machine
from papisim.plan.memory import Demand, plan_memory


def hardware(hw: str, *assignments: str) -> tuple[Machine, KernelTrace]:
    experiment = load_experiment(RunOptions(hw=hw, trace="llama7b", set=list(assignments)))
    return build_machine(experiment.system), read_trace(experiment.trace.path)


def test_weights_take_room_where_they_share_a_device_with_the_caches():
    machine, trace = hardware("gpu_only")
    memory = plan_memory(machine, trace)
    assert memory.kv_device == "gpu"
    # 32 heads on six GPUs: six on the fullest
    free = machine.pools["gpu"].capacity_bytes - weight_bytes(trace)
    assert memory.kv_capacity_bytes == pytest.approx(free * 32 / 36)
    assert memory.kv_token_bytes == kv_bytes_per_token(trace)


def test_weights_elsewhere_leave_the_caches_all_of_their_device():
    machine, trace = hardware("papi")
    assert plan_memory(machine, trace).kv_capacity_bytes == machine.pools["attn_pim"].capacity_bytes


def test_only_the_usable_share_of_the_memory_counts():
    machine, trace = hardware("gpu_only")
    half = plan_memory(machine, trace, utilisation_ratio=0.5).kv_capacity_bytes
    assert half == pytest.approx((machine.pools["gpu"].capacity_bytes / 2 - weight_bytes(trace)) * 32 / 36)


def test_all_stages_of_a_pipeline_hold_weights_and_caches():
    cut = ("devices.gpu.count=8", "links.nvlink.count=8", "roles.pipeline={stages: 4, link: nvlink}")
    (whole, trace), (stage, _) = hardware("gpu_only", *cut[:2]), hardware("gpu_only", *cut)
    cut_bytes, whole_bytes = plan_memory(stage, trace).kv_capacity_bytes, plan_memory(whole, trace).kv_capacity_bytes
    assert cut_bytes == pytest.approx(whole_bytes, rel=1e-3)  # embedding and LM head are on the outer stages


def test_a_draft_model_on_the_same_devices_takes_weights_once_and_cache_per_token():
    machine, trace = hardware("gpu_only", "devices.gpu.count=8", "links.nvlink.count=8")
    alone = plan_memory(machine, trace)
    beside = plan_memory(machine, trace, [Demand("gpu", 10**9, 1000)])
    tokens = (alone.kv_capacity_bytes - 10**9) / (alone.kv_token_bytes + 1000)
    assert beside.kv_capacity_bytes == pytest.approx(tokens * alone.kv_token_bytes)


def test_a_draft_model_on_one_of_eight_devices_limits_the_room_of_all():
    machine, trace = hardware("gpu_only", "devices.gpu.count=8", "links.nvlink.count=8")
    alone = plan_memory(machine, trace)
    beside = plan_memory(machine, trace, [Demand("gpu", 10**9, 0, units=1)])
    assert beside.kv_capacity_bytes == pytest.approx(alone.kv_capacity_bytes - 8 * 10**9)


def test_a_draft_model_elsewhere_limits_the_tokens_if_its_device_fills_first():
    machine, trace = hardware("papi")
    alone = plan_memory(machine, trace)
    free = machine.pools["gpu"].capacity_bytes - 10**9
    tokens = 1000
    beside = plan_memory(machine, trace, [Demand("gpu", 10**9, free / tokens)])
    assert beside.kv_capacity_bytes == pytest.approx(tokens * alone.kv_token_bytes, rel=1e-6)
    assert plan_memory(machine, trace, [Demand("gpu", 10**9, 1)]).kv_capacity_bytes == alone.kv_capacity_bytes


def test_many_requests_share_the_channels_of_pim_better_than_one():
    """1,024 pairs of one llama7b request on 960 channels: two on the fullest; of 960 requests all channels have 1,024."""
    machine, trace = hardware("papi")
    memory = plan_memory(machine, trace)
    tokens = memory.tokens_of(None)
    assert memory.tokens_of(1) == pytest.approx(tokens * 1024 / (2 * 960))
    assert memory.tokens_of(960) == tokens


@pytest.mark.parametrize("draft", [[], [Demand("gpu", 10**13, 1)]])
def test_weights_that_do_not_fit_are_refused_with_the_devices_that_would_hold_them(draft: list[Demand]):
    machine, trace = hardware("gpu_only", *([] if draft else ["devices.gpu.part.capacity_bytes=1 GB"]))
    with pytest.raises(
        DoesNotFit, match="weights of the draft model" if draft else f"weights of {trace.name}"
    ) as refusal:
        plan_memory(machine, trace, draft)
    assert refusal.value.demand > refusal.value.bound
    lever = refusal.value.levers[0].removeprefix("--set ")
    more = lever if draft else f"{lever} devices.gpu.part.capacity_bytes=1 GB"
    machine, _ = hardware("gpu_only", *more.split(" ", 1))
    plan_memory(machine, trace, draft)
