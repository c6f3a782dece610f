from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the [capture] extra")

import torch
from torch.nn import functional

from papisim.errors import NotModelled
from papisim.tracing.record import Call, Recorder, RecordingMode
from papisim.tracing.routing import Routing

pytestmark = pytest.mark.capture


def half(*shape: int) -> Any:
    return torch.empty(*shape, dtype=torch.float16, device="meta")


def recorded(function: Callable[..., Any], *operands: Any) -> list[Call]:
    recorder = Recorder(torch.nn.Identity(), Routing(), (0,))
    with torch.no_grad(), RecordingMode(recorder):
        function(*operands)
    return recorder.recording.calls


def only(function: Callable[..., Any], *operands: Any) -> Call:
    (call,) = recorded(function, *operands)
    return call


def read_bytes(call: Call) -> int:
    return sum(access.tensor.n_bytes.constant for access in call.reads)


def written_bytes(call: Call) -> int:
    return sum(access.tensor.n_bytes.constant for access in call.writes)


@pytest.mark.parametrize(
    ("function", "shapes", "matmul_flop", "elementwise_flop"),
    [
        (torch.mm, [(3, 5), (5, 7)], 2 * 3 * 5 * 7, 0),
        (torch.bmm, [(2, 3, 5), (2, 5, 7)], 2 * 2 * 3 * 5 * 7, 0),
        (torch.addmm, [(7,), (3, 5), (5, 7)], 2 * 3 * 5 * 7, 3 * 7),
        (torch.add, [(3, 5), (3, 5)], 0, 15),
        (torch.mul, [(3, 5), (5,)], 0, 15),
        (torch.mean, [(3, 5)], 0, 15),
        (lambda x: x.sum(-1), [(3, 5)], 0, 15),
        (lambda x: torch.softmax(x, -1), [(3, 5)], 0, 5 * 15),
        (lambda x: functional.layer_norm(x, (5,)), [(3, 5)], 0, 7 * 15),
        (lambda x: x.topk(2), [(3, 5)], 0, 15),
        (lambda x: x.float(), [(3, 5)], 0, 0),
        (lambda x: torch.cat([x, x]), [(3, 5)], 0, 0),
    ],
)
def test_work_is_counted_by_the_conventions_of_traces(
    function: Callable[..., Any], shapes: list[tuple[int, ...]], matmul_flop: int, elementwise_flop: int
) -> None:
    call = only(function, *[half(*shape) for shape in shapes])
    assert (call.matmul_flop, call.elementwise_flop) == (matmul_flop, elementwise_flop)


def test_views_are_no_kernels() -> None:
    assert recorded(lambda x: x.view(15).view(5, 3).t()[1:].unsqueeze(0).detach(), half(3, 5)) == []


def test_a_look_up_reads_the_rows_it_selects() -> None:
    rows = torch.zeros(4, dtype=torch.int64, device="meta")
    for look_up in (lambda table, i: functional.embedding(i, table), lambda table, i: table[i]):
        call = only(look_up, half(1000, 8), rows)
        assert read_bytes(call) == 4 * 8 * 2 + 4 * 8
        assert written_bytes(call) == 4 * 8 * 2


def test_adding_rows_in_place_touches_those_rows_only() -> None:
    rows = torch.zeros(4, dtype=torch.int64, device="meta")
    call = only(lambda x, i, y: x.index_add_(0, i, y), half(1000, 8), rows, half(4, 8))
    assert read_bytes(call) == 2 * 4 * 8 * 2 + 4 * 8
    assert written_bytes(call) == 4 * 8 * 2


def test_an_expanded_operand_is_read_once() -> None:
    call = only(lambda x, y: x + y.expand(100, 8), half(100, 8), half(1, 8))
    assert read_bytes(call) == (100 * 8 + 8) * 2


def test_making_zeros_like_an_operand_does_not_read_it() -> None:
    call = only(torch.zeros_like, half(100, 8))
    assert (read_bytes(call), written_bytes(call)) == (0, 1600)


def test_views_share_the_identity_of_what_they_view() -> None:
    first, second = recorded(lambda x: (x + 1, x.view(15)[3:].neg()), half(3, 5))
    assert first.reads[0].storage == second.reads[0].storage != first.writes[0].storage
    assert first.reads[0].covers(second.reads[0])
    assert not second.reads[0].covers(first.reads[0])


def test_halves_of_one_tensor_are_different_memory() -> None:
    (call,) = recorded(lambda x: torch.mul(*x.chunk(2, dim=-1)), half(3, 10))
    left, right = call.reads
    assert left.storage == right.storage
    assert not left.covers(right)
    assert not right.covers(left)


def test_real_indices_meet_meta_tensors() -> None:
    call = only(lambda x, i: x[i], half(10, 8), torch.tensor([1, 2, 3]))
    assert str(call.outputs[0]) == "float16[3, 8]"


def test_single_numbers_on_the_host_are_no_kernels() -> None:
    assert recorded(lambda x: bool(x + 1 == 4), torch.tensor(3)) == []


def test_a_scope_is_one_kernel_with_the_traffic_it_states() -> None:
    recorder = Recorder(torch.nn.Identity(), Routing(), (0,))
    query, key = half(3, 5), half(5, 7)
    with torch.no_grad(), RecordingMode(recorder):
        writes: list[Any] = []
        with recorder.scope("attention", [query, key], writes):
            output = torch.relu(query @ key)
            writes.append((output, output))
    (call,) = recorder.recording.calls
    assert call.replaces == ("aten.mm.default", "aten.relu.default")
    assert call.matmul_flop == 2 * 3 * 5 * 7
    assert (read_bytes(call), written_bytes(call)) == ((3 * 5 + 5 * 7) * 2, 3 * 7 * 2)


def test_a_product_without_a_rule_is_refused_rather_than_miscounted() -> None:
    with pytest.raises(NotModelled, match=r"convolution.*has no FLOP rule"):
        recorded(functional.conv1d, half(1, 2, 9), half(3, 2, 3))


def test_what_is_computed_from_one_parameter_alone_is_no_kernel_and_reads_it_as_stored() -> None:
    module = torch.nn.Linear(5, 7, bias=False, dtype=torch.float16, device="meta")
    recorder, rows = Recorder(module, Routing(), (0,)), half(3, 5)
    with torch.no_grad(), RecordingMode(recorder):
        functional.linear(rows.float(), module.weight.float())
    cast, product = recorder.recording.calls
    assert cast.op.startswith("aten._to_copy")
    assert product.reads[1].parameter == ("weight",)
    assert product.reads[1].tensor.n_bytes.constant == 7 * 5 * 2


def test_what_no_engine_launches_leaves_its_views_known() -> None:
    recorder = Recorder(torch.nn.Identity(), Routing(), (0,))
    query = half(2, 4, 3, 5)
    with torch.no_grad(), RecordingMode(recorder):
        with recorder.unrecorded():
            moved = query.transpose(0, 1).reshape(4, 6, 5)
            recorder.alias(moved, query)
        torch.relu(moved)
    (call,) = recorder.recording.calls
    assert recorder.storages(query) == {call.reads[0].storage}
