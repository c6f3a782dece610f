"""Steps as engines launch them: what is padded, what is not, and what neighbours spare each other."""

from __future__ import annotations

import pytest

from papisim.config.engine import load_engine
from papisim.config.experiment import load_experiment, options_of
from papisim.ops.kernel import Elementwise, FcRole, KernelClass, KvAppend, Linear
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.ops.trace import read_trace
from papisim.plan.build import planner_of
from papisim.plan.machine import build_machine
from papisim.plan.phase import Category, Phase, seconds
from papisim.plan.planner import Planner


def planner(engine: str, hw: str = "gpu_only", trace: str = "llama7b", changes: tuple[str, ...] = ()) -> Planner:
    experiment = load_experiment(options_of(hw=hw, trace=trace, engine=engine, batch=64, set=changes))
    return planner_of(experiment, read_trace(experiment.trace.path), build_machine(experiment.system))


def phases(of: Planner, rows: int, *, fold: bool = False) -> list[Phase]:
    return of.in_order(decode_shape(rows, rows), decode_lengths(rows, 1, 100 * rows, 100), None, fold=fold)


def kernels(found: list[Phase]) -> list[object]:
    return [work.item for phase in found for work in phase.work]


def test_products_are_padded_to_a_captured_size_and_the_head_is_not():
    products = [item for item in kernels(phases(planner("vllm"), 9)) if isinstance(item, Linear)]
    assert {item.m for item in products if item.role is not FcRole.LM_HEAD} == {16}
    assert {item.m for item in products if item.role is FcRole.LM_HEAD} == {9}


def test_attention_and_the_write_into_the_cache_are_of_real_requests():
    found = {phase.category: phase for phase in phases(planner("vllm"), 9, fold=True)}
    exact = {phase.category: phase for phase in phases(planner("none"), 9, fold=True)}
    assert found[Category.ATTENTION].total_s == pytest.approx(exact[Category.ATTENTION].total_s, rel=0.3)
    appends = [item for item in kernels(phases(planner("vllm"), 9)) if isinstance(item, KvAppend)]
    assert {item.new_bytes for item in appends} == {9 * 2 * 4096 * 2}


def test_sampling_reads_the_logits_of_real_rows():
    spec = load_engine("vllm").spec.sampling
    sampled = [
        item
        for item in kernels(phases(planner("vllm"), 9))
        if isinstance(item, Elementwise) and item.kernel_class is KernelClass.OTHER
    ]
    assert sum(item.read_bytes for item in sampled) == spec.passes * 4 * 9 * 32000


@pytest.mark.parametrize("engine", ["eager", "vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("hw", ["gpu_only", "papi", "pim_only"])
def test_folding_changes_nothing(engine, hw):
    of = planner(engine, hw)
    assert seconds(phases(of, 5, fold=True)) == pytest.approx(seconds(phases(of, 5)), rel=1e-9)


def test_an_all_reduce_that_normalises_spares_two_launches_per_layer():
    apart, joined = (
        planner("trtllm", changes=(f"engine.fusion.all_reduce_norm={word}",)) for word in ("false", "true")
    )
    launch_s = (
        load_experiment(options_of(hw="gpu_only", trace="llama7b")).system.parts["gpu"].elementwise.fused.launch_s
    )
    spared_s = seconds(phases(apart, 4)) - seconds(phases(joined, 4))
    assert spared_s == pytest.approx(2 * 32 * launch_s, rel=1e-6)


def test_one_device_alone_has_no_all_reduce_to_normalise_in():
    times = [
        seconds(phases(planner("trtllm", "a100_single", changes=(f"engine.fusion.all_reduce_norm={word}",)), 4))
        for word in ("false", "true")
    ]
    assert times[0] == times[1]


def test_rotating_and_writing_at_once_needs_both_on_one_device():
    def launched(hw: str, word: str) -> int:
        of = planner("trtllm", hw, changes=(f"engine.fusion.rotary_append={word}",))
        return sum(phase.n_kernels for phase in phases(of, 4))

    assert launched("gpu_only", "false") - launched("gpu_only", "true") == 32
    assert launched("papi", "false") == launched("papi", "true")


def test_eager_torch_waits_between_kernels():
    of = planner("eager")
    gap_s = load_experiment(options_of(hw="gpu_only", trace="llama7b")).system.parts["gpu"].between_kernels_s
    gaps = [phase for phase in phases(of, 4) if not phase.work]
    count = sum(phase.n_kernels for phase in phases(of, 4) if phase.resource == "gpu")
    assert sum(phase.total_s for phase in gaps) == pytest.approx(gap_s * count, rel=1e-9)
