from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the [capture] extra")

from papisim.errors import CheckFailed, NotModelled
from papisim.ops.dims import EXPERT_ROWS, KV, RLP, TLP, Dim, monomial_dim, parse_dim, total, whole
from papisim.ops.kernel import KernelClass
from papisim.ops.tensors import Tensor
from papisim.ops.trace import Point
from papisim.ops.trace_kernels import AttentionShape, TraceKernel
from papisim.tracing.classify import PlacedKernel
from papisim.tracing.lift import (
    CHECKS,
    GRID,
    NotPolynomialError,
    fold,
    kinds,
    lift,
    lift_kernel,
    lift_value,
    spread,
    verify,
)

pytestmark = pytest.mark.capture
DENSE = [None] * len(GRID)
ROWS = [7, 19, 4, 40, 23, 11, 31, 2]

multilinear = st.lists(
    st.tuples(st.sets(st.sampled_from((RLP, TLP, KV))).map(tuple), st.integers(-(10**6), 10**6)), max_size=8
).map(lambda terms: total(monomial_dim(m, c) for m, c in terms))


def at_grid(text: str) -> list[int]:
    return [parse_dim(text).at(point.symbols) for point in GRID]


@given(multilinear)
def test_every_multilinear_polynomial_is_found_again(dim: Dim) -> None:
    assert lift_value([dim.at(point.symbols) for point in GRID], DENSE) == dim


@given(st.integers(1, 10**6), st.integers(0, 100))
def test_a_dimension_of_an_expert_is_linear_in_its_rows(slope: int, offset: int) -> None:
    expected = monomial_dim((EXPERT_ROWS,), slope) + whole(offset)
    assert lift_value([slope * rows + offset for rows in ROWS], ROWS) == expected


def test_a_dimension_of_an_expert_may_also_be_that_of_the_batch() -> None:
    assert lift_value(at_grid("RLP*TLP"), ROWS) == parse_dim("RLP*TLP")
    assert lift_value([8] * 8, ROWS) == whole(8)


def test_a_dimension_with_fractional_coefficients_is_refused() -> None:
    with pytest.raises(NotPolynomialError, match="integer coefficients"):
        lift_value([-(-point.kv // 64) for point in GRID], DENSE)


def kernel(kv: int, **changes: object) -> TraceKernel:
    tensor = Tensor("float16", (whole(kv), whole(64)))
    return TraceKernel(**{"name": "k", "kernel_class": KernelClass.OTHER, "reads": (tensor,)} | changes)


def captures(kernels: list[TraceKernel], layers: int = 1) -> list[list[PlacedKernel]]:
    return [[PlacedKernel(layer, None, None, kernel) for layer in range(layers)] for kernel in kernels]


def test_equal_layers_become_one_block() -> None:
    lifted = lift(captures([kernel(point.kv) for point in GRID], layers=3))
    (block,) = fold(lifted)
    assert (block.layers, block.repeats) == ("0-2", 3)
    assert str(block.kernels[0].reads[0]) == "float16[KV, 64]"


def test_layers_become_one_block_per_kind_in_the_order_of_their_first() -> None:
    wide, narrow = kernel(8), kernel(4)
    run = [PlacedKernel(i, None, None, k) for i, k in enumerate([wide, wide, narrow, wide])]
    before, after = PlacedKernel(None, None, None, kernel(1)), PlacedKernel(None, None, None, kernel(2))
    blocks = fold(lift([[before, *run, after]] * len(GRID)))
    assert [(block.name, block.layers) for block in blocks] == [
        ("before_layers", None), ("layer", "0-1,3"), ("layer_2", "2"), ("after_layers", None),
    ]  # fmt: skip


def test_a_model_that_launches_other_kernels_at_another_point_is_refused() -> None:
    runs = captures([kernel(point.kv) for point in GRID])
    runs[3] = runs[3] * 2
    with pytest.raises(NotModelled, match="another path"):
        lift(runs)


def test_a_kernel_with_another_type_at_another_point_is_refused() -> None:
    runs = captures([kernel(point.kv) for point in GRID])
    runs[5] = captures([kernel(5, reads=(Tensor("float32", (whole(GRID[5].kv), whole(64))),))])[0]
    with pytest.raises(NotModelled, match="k in layer 0 differs between points"):
        lift(runs)


def test_a_dimension_that_is_not_polynomial_is_refused_by_name() -> None:
    with pytest.raises(NotModelled, match="a dimension of k in layer 0 is no polynomial"):
        lift(captures([kernel(-(-point.kv // 64)) for point in GRID]))


def windowed(point: Point) -> int:
    """A sliding window of 4,096 tokens, which no grid of short caches can tell from full attention."""
    return min(point.kv, 4096)


def test_a_sliding_window_that_lifting_cannot_see_fails_verification() -> None:
    lifted = lift(captures([kernel(windowed(point)) for point in GRID]))
    at = {point: captures([kernel(windowed(point))])[0] for point in CHECKS}
    verify(lifted, at[CHECKS[0]], CHECKS[0])
    with pytest.raises(CheckFailed, match="lifted kernel k of layer 0 is not the captured k"):
        verify(lifted, at[CHECKS[2]], CHECKS[2])


@pytest.mark.parametrize(
    "change",
    [
        {"reads": (Tensor("float16", (parse_dim("KV"), whole(63))),)},
        {"reads": (Tensor("float32", (parse_dim("KV"), whole(64))),)},
        {"elementwise_flop": whole(1)},
        {"kernel_class": KernelClass.NORMALISATION},
        {"name": "other"},
        {"writes": (Tensor("float16", ()),)},
    ],
)
def test_a_trace_that_was_tampered_with_fails_verification(change: dict[str, object]) -> None:
    point = CHECKS[1]
    lifted = lift(captures([kernel(p.kv) for p in GRID]))
    captured = captures([kernel(point.kv)])[0]
    verify(lifted, captured, point)
    tampered = [PlacedKernel(0, None, None, lifted[0].kernel.model_copy(update=change))]
    with pytest.raises(CheckFailed):
        verify(tampered, captured, point)


def test_a_missing_kernel_fails_verification() -> None:
    lifted = lift(captures([kernel(p.kv) for p in GRID], layers=2))
    with pytest.raises(CheckFailed, match="1 kernels were captured, the lifted trace has 2"):
        verify(lifted, captures([kernel(CHECKS[0].kv)])[0], CHECKS[0])


def test_experts_that_differ_are_refused() -> None:
    run = [PlacedKernel(0, expert, 3, kernel(8 + expert, per_expert=True)) for expert in range(2)]
    with pytest.raises(NotModelled, match="experts of layer 0 do not launch the same kernels"):
        fold(run)


@pytest.mark.parametrize("values", [[rows // 2 for rows in ROWS], [rows * rows for rows in ROWS]])
def test_a_dimension_that_is_not_linear_in_an_experts_rows_is_refused(values: list[int]) -> None:
    with pytest.raises(NotPolynomialError, match="integer coefficients"):
        lift_value(values, ROWS)


def test_half_of_an_experts_rows_is_no_whole_dimension() -> None:
    even = [2 * rows for rows in ROWS]
    with pytest.raises(NotPolynomialError, match="integer coefficients"):
        lift_value(ROWS, even)


def test_attention_multiplies_scores_and_context_over_every_pair() -> None:
    """``2·d`` FLOP per pair and head for Q·Kᵀ, the same for the context, and what softmax takes per score and per query."""
    runs = []
    for point in GRID:
        query = Tensor("float16", tuple(map(whole, (point.rlp, 4, point.tlp, 16))))
        cached = Tensor("float16", tuple(map(whole, (point.rlp, 2, point.kv + point.tlp, 16))))
        heads = AttentionShape(n_heads=4, n_kv_heads=2, head_dim=16)
        runs.append(
            TraceKernel(
                name="a", kernel_class=KernelClass.ATTENTION, attention=heads, reads=(query, cached, cached),
                elementwise_flop=whole(point.rlp * 4 * point.tlp * ((point.kv + point.tlp) * 5 + 3)),
            )
        )  # fmt: skip
    lifted = lift_kernel(runs, DENSE)
    rlp, tlp, kv = 3, 5, 100
    pairs = rlp * 4 * tlp * (kv + tlp)
    symbols = {"RLP": rlp, "TLP": tlp, "KV": kv}
    assert lifted.matmul_flop.at(symbols) == pairs * 4 * 16
    assert lifted.elementwise_flop.at(symbols) == pairs * 5 + rlp * 4 * tlp * 3


def test_experts_without_rows_at_a_point_are_left_out_and_those_with_rows_compared() -> None:
    lifted = [PlacedKernel(0, expert, None, kernel(8, per_expert=True)) for expert in range(3)]
    captured = [PlacedKernel(0, expert, 2, kernel(8, per_expert=True)) for expert in (0, 2)]
    verify(lifted, captured, CHECKS[0])
    with pytest.raises(CheckFailed, match="is not the captured"):
        verify(lifted, [captured[0], PlacedKernel(0, 2, 2, kernel(9, per_expert=True))], CHECKS[0])


def test_equal_kernels_in_another_layer_fail_verification() -> None:
    lifted = lift(captures([kernel(8) for _ in GRID], layers=2))
    swapped = [PlacedKernel(layer, None, None, kernel(8)) for layer in (1, 0)]
    with pytest.raises(CheckFailed, match="of layer 0 is not the captured k of layer 1"):
        verify(lifted, swapped, CHECKS[0])


def test_layers_are_of_the_kind_of_the_first_with_their_kernels() -> None:
    wide, narrow = kernel(8), kernel(4)
    run = [PlacedKernel(i, None, None, k) for i, k in enumerate([wide, narrow, wide, narrow])]
    before = PlacedKernel(None, None, None, kernel(1))
    equals = kinds([before, *run], 4)
    assert equals == [0, 1, 0, 1]
    assert spread([before, *run[:2], before], equals) == [before, *run, before]


def test_a_layer_that_launches_nothing_is_refused() -> None:
    with pytest.raises(NotModelled, match="layer 1 launches no kernels"):
        kinds([PlacedKernel(0, None, None, kernel(8)), PlacedKernel(2, None, None, kernel(8))], 3)


def test_every_expert_that_ran_is_compared_with_the_one_that_was_lifted() -> None:
    lifted = [PlacedKernel(0, 0, None, kernel(8, per_expert=True))]
    verify(lifted, [PlacedKernel(0, expert, 2, kernel(8, per_expert=True)) for expert in range(5)], CHECKS[0])
    with pytest.raises(CheckFailed, match="is not the captured"):
        verify(lifted, [PlacedKernel(0, e, 2, kernel(8 + (e == 4), per_expert=True)) for e in range(5)], CHECKS[0])
