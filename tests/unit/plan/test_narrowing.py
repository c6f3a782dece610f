"""Inputs of eight bits are narrowed by a kernel of their own, once per input, where neither engine nor library does it on the way."""

from __future__ import annotations

import pytest

from papisim.calibration.operators import Assigned
from papisim.config.experiment import load_experiment, options_of
from papisim.ops.formats import Packed
from papisim.ops.kernel import Elementwise, FcRole, KernelClass, Linear
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.ops.trace import read_trace
from papisim.plan.build import build_formats, planner_of
from papisim.plan.machine import build_machine
from papisim.plan.narrowing import narrowing
from papisim.plan.phase import Category, Phase, seconds
from papisim.policies.placement.base import Operator, PlacementView

EIGHT = "quantisation={weight_bits: 8, activation_bits: 8}"
ROWS, LAYERS = 16, 32


def step(engine: str, *changes: str, hw: str = "h100_single", trace: str = "llama3-8b") -> list[Phase]:
    experiment = load_experiment(options_of(hw=hw, trace=trace, engine=engine, batch=64, set=changes))
    model = read_trace(experiment.trace.path).stored_as(build_formats(experiment.quantisation))
    planner = planner_of(experiment, model, build_machine(experiment.system))
    return planner.in_order(decode_shape(ROWS, ROWS), decode_lengths(ROWS, 1, 100 * ROWS, 100), None, fold=False)


def narrowed(phases: list[Phase]) -> list[Elementwise]:
    """The kernels that write one byte per element, and a scale per row, of two that they read."""
    items = (work.item for phase in phases for work in phase.work for _ in range(phase.repeats))
    return [
        item for item in items
        if isinstance(item, Elementwise) and item.read_bytes == 2 * (item.write_bytes - 4 * ROWS) and item.flop * 2 == 3 * item.read_bytes
    ]  # fmt: skip


def test_a_kernel_reads_what_was_computed_and_writes_it_narrow_with_its_scales() -> None:
    product = Linear(FcRole.QKV, 16, 4096, 6144, 2, Packed(8, 4096, 32), 8)
    assert narrowing(product, 16) == Elementwise(KernelClass.OTHER, 3 * 16 * 4096, 16 * 4096 * 2, 16 * 4096 + 4 * 16)
    blocks = Linear(FcRole.PROJECTION, 16, 4096, 4096, 2, Packed(8, 128, 32, 128), 8)
    assert narrowing(blocks, 16).write_bytes == 16 * 4096 + 4 * 16 * 32, "a scale per 128 inputs"
    assert narrowing(blocks, 16).kernel_class is KernelClass.ACTIVATION, "of a rank's own columns"
    four = Linear(FcRole.QKV, 16, 4096, 6144, 2, Packed(4, 16, 8), 4)
    assert narrowing(four, 16).write_bytes == 16 * 4096 // 2 + 4 * 16


def test_products_of_one_input_share_the_kernel_that_narrows_it() -> None:
    widths = sorted(item.read_bytes // (2 * ROWS) for item in narrowed(step("none", EIGHT)))
    # Q, K and V; projection; gate and up; down
    assert widths == sorted([4096, 4096, 4096, 14336] * LAYERS)


def test_an_engine_may_narrow_inputs_in_norms_and_activations() -> None:
    widths = [item.read_bytes // (2 * ROWS) for item in narrowed(step("vllm", EIGHT))]
    assert widths == [4096] * LAYERS, "the context of attention alone"


@pytest.mark.parametrize(
    ("engine", "hw", "changes"),
    [
        ("none", "h100_single", ()),
        ("none", "h100_single", ("quantisation={weight_bits: 8}",)),
        ("sglang", "h100_single", (EIGHT,)),  # its library was measured with the narrowing
        ("none", "papi", (EIGHT,)),  # units take inputs as traced
    ],
)
def test_nothing_is_narrowed_where_inputs_are_wide_or_taken_as_they_come(
    engine: str, hw: str, changes: tuple[str, ...]
) -> None:
    assert narrowed(step(engine, *changes, hw=hw)) == []


def test_placements_see_prices_that_add_up_to_the_fc_of_a_step_narrowing_included() -> None:
    changes = [EIGHT, "devices.pim.part.fpu.widens_bits=[8,4]"]
    experiment = load_experiment(
        options_of(hw="h200_hbmpim", trace="llama3-8b", placement="cheapest", set=changes, batch=ROWS)
    )
    model = read_trace(experiment.trace.path).stored_as(build_formats(experiment.quantisation))
    views = list[PlacementView]()
    planner = planner_of(experiment, model, build_machine(experiment.system), Assigned({}, views.append))
    phases = planner.in_order(decode_shape(ROWS, ROWS), decode_lengths(ROWS, 1, 100 * ROWS, 100), None, fold=False)
    assert len(narrowed(phases)) == 4 * LAYERS
    fc = [each for each in phases if each.category is Category.FC or narrowed([each])]
    # Q; K and V; the projection; gate and up; down; the LM head
    count = [LAYERS, 2 * LAYERS, LAYERS, 2 * LAYERS, LAYERS, 1]
    asked = [each for each in views if each.operator is Operator.FC]
    prices_s = [n * each.price("gpu", each.kernel).time_s for n, each in zip(count, asked, strict=False)]
    assert sum(prices_s) == pytest.approx(seconds(fc))
