"""The programs compute what they say, on CPU and tiny shapes."""

from types import ModuleType

import pytest
import torch

from kernels import all_reduce, attention, decode_step, elementwise, gemm_kernels, linear
from kernels.harness import Bench, Pool
from kernels.shapes import (
    HELD_OUT,
    Weight,
    fused_weights,
    linear_plan,
    models_with,
    other_plan,
    trace_of,
    weights,
)

PROGRAMS = [linear, attention, elementwise, decode_step]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_smoke_points_give_full_rows(program: ModuleType, bench: Bench) -> None:
    points = program.points(smoke=True)
    rows = list(program.measure(bench, points))
    assert len(rows) == len(points) > 0
    assert all(tuple(row) == program.COLUMNS for row in rows)
    assert all(row["time_s"] > 0 for row in rows)


@pytest.mark.slow
def test_all_reduce_over_two_processes_gives_a_time_for_every_message(bench: Bench) -> None:
    rows = list(all_reduce.measure(bench, all_reduce.points(smoke=True)))
    assert [row["message_bytes"] for row in rows] == all_reduce.points(smoke=True)
    assert all(row["ranks"] == 2 and row["time_s"] > 0 for row in rows)


@pytest.mark.parametrize(("n_heads", "n_kv_heads", "tlp"), [(4, 4, 1), (4, 4, 3), (8, 2, 1), (8, 2, 3)])
def test_attention_equals_its_definition(n_heads: int, n_kv_heads: int, tlp: int) -> None:
    torch.manual_seed(n_heads + tlp)
    query = torch.randn(2, n_heads, tlp, 16, dtype=torch.float64)
    key, value = (torch.randn(2, n_kv_heads, 21, 16, dtype=torch.float64) for _ in range(2))
    wide_key, wide_value = (states.repeat_interleave(n_heads // n_kv_heads, dim=1) for states in (key, value))
    expected = torch.softmax(query @ wide_key.mT / 16**0.5, dim=-1) @ wide_value
    torch.testing.assert_close(attention.attend(query, key, value), expected)
    torch.testing.assert_close(attention.attend(query, key, value, packed=True), expected)


def test_rms_norm_equals_its_definition() -> None:
    states, weight = torch.randn(2, 3, 64, dtype=torch.float16), torch.rand(64, dtype=torch.float16)
    exact = states.double() / (states.double().pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    torch.testing.assert_close(decode_step.normalised(states, weight).double(), exact, rtol=3e-3, atol=3e-3)


def test_rotation_keeps_lengths_and_undoes_itself() -> None:
    states = torch.randn(2, 4, 3, 16, dtype=torch.float64)
    angles = torch.rand(2, 1, 3, 8, dtype=torch.float64).repeat(1, 1, 1, 2)
    turned = decode_step.rotated(states, angles.cos(), angles.sin())
    torch.testing.assert_close(turned.norm(dim=-1), states.norm(dim=-1))
    torch.testing.assert_close(decode_step.rotated(turned, angles.cos(), -angles.sin()), states)


def test_bytes_of_elementwise_operators_are_those_of_their_operands() -> None:
    by_name = {op.name: op for op in elementwise.OPS}
    norm = ("to_float32", "pow", "mean", "add_scalar", "rsqrt", "mul_column", "to_float16", "mul_weight")
    rotary = ("rotary_mul", "rotary_neg", "rotary_cat", "rotary_mul", "rotary_add")
    for whole, parts in (("rms_norm", norm), ("rotary", rotary), ("silu_mul", ("silu", "mul"))):
        sequence = next(op for op in elementwise.SEQUENCES if op.name == f"{whole}_sequence")
        for size in ((1, 4096), (7, 8192)):
            assert sequence.read_bytes(*size) == sum(by_name[part].read_bytes(*size) for part in parts)
            assert sequence.write_bytes(*size) == sum(by_name[part].write_bytes(*size) for part in parts)


def test_nothing_of_a_held_out_model_is_measured() -> None:
    measured = {weight for weight, _ in (*linear_plan(), *other_plan())}
    for model in HELD_OUT:
        assert not measured & weights(trace_of(model))
    assert all(point.heads.n_heads != 40 for point in attention.points(smoke=False))
    assert all(point.model not in HELD_OUT for point in decode_step.points(smoke=False))
    assert {point.model for point in decode_step.held_out_points(smoke=False)} == HELD_OUT


def test_the_plan_holds_shards_and_fused_weights() -> None:
    measured = {weight for weight, _ in linear_plan()}
    assert weights(trace_of("llama3-70b"), 8) <= measured
    assert Weight(1024, 8192) in weights(trace_of("llama3-70b"), 8), "the projection splits its inputs"
    assert Weight(8192, 1024) in weights(trace_of("llama3-70b"), 8), "Q splits its outputs"
    assert fused_weights(trace_of("llama7b")) == {Weight(4096, 3 * 4096), Weight(4096, 2 * 11008)}


def test_a_weight_is_measured_once_for_each_m() -> None:
    points = [(point.m, point.weight) for point in linear.points(smoke=False)]
    assert len(points) == len(set(points))
    assert set(linear.repeat_points(smoke=False)) <= {linear.Point(m, weight) for m, weight in points}


def test_every_measured_weight_names_its_models_and_is_in_one_plan() -> None:
    first, second = ({weight for weight, _ in plan()} for plan in (linear_plan, other_plan))
    assert not first & second
    assert all(models_with()[weight] for weight in first | second)
    assert {"llama3-8b", "llama7b", "mixtral-8x7b"} <= set(models_with()[Weight(4096, 4096)])


def test_kernels_between_two_markers_are_one_product() -> None:
    """Events out of order, a kernel that fills operands, and a product of two kernels."""

    def event(start: int, name: str) -> dict[str, object]:
        return {"cat": "kernel", "ts": start, "name": name, "args": {"grid": [start, 2, 1]}}

    marker = "void at::native::vectorized_elementwise_kernel<4, at::native::sigmoid_kernel_cuda>(int)"
    events = [
        event(5, "void cublasLt::splitKreduce_kernel<32, 16>(int)"), event(4, "nvjet_64x8_splitK_TNT"), event(3, marker),
        event(2, "nvjet_128x8_TNT"), event(1, "void at::native::fill<int>(int)"), event(6, marker), {"cat": "cpu_op"},
    ]  # fmt: skip
    assert gemm_kernels._by_product(events) == [
        [("nvjet_128x8_TNT", "2x2x1")],
        [("nvjet_64x8_splitK_TNT", "4x2x1"), ("cublasLt::splitKreduce_kernel", "5x2x1")],
    ]


def test_energy_is_measured_of_the_operations_that_stand_for_a_class() -> None:
    points = elementwise.energy_points(smoke=False)
    assert all(point.energy for point in points)
    assert {"rms_norm_sequence", "rotary_sequence", "silu_mul_sequence"} <= {point.op.name for point in points}


def test_operands_of_a_pool_do_not_overlap_until_it_is_full() -> None:
    pool = Pool(8192, torch.device("cpu"))
    sets = pool.sets((10, 20), 20)
    starts = [tensor.data_ptr() for tensor in sets]
    assert len(set(starts)) == 16, "400 bytes take 512, and 8,192 hold 16 of them"
    assert starts[16:] == starts[:4]
    with pytest.raises(ValueError, match="does not fit"):
        pool.sets((4097,), 1)
