from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.ops.dims import SYMBOLS, Dim, monomial_dim, parse_dim, product, symbol, total, whole

monomials = st.lists(st.sampled_from(SYMBOLS), max_size=3).map(tuple)
dims = st.lists(st.tuples(monomials, st.integers(-(10**6), 10**6)), max_size=5).map(
    lambda terms: total(monomial_dim(m, c) for m, c in terms)
)
points = st.fixed_dictionaries({name: st.integers(0, 1000) for name in SYMBOLS})


@given(dims)
def test_a_dimension_is_read_as_it_is_written(dim: Dim) -> None:
    assert parse_dim(str(dim)) == dim


@given(dims, dims, points)
def test_arithmetic_on_dimensions_is_arithmetic_on_their_values(a: Dim, b: Dim, point: dict[str, int]) -> None:
    assert (a + b).at(point) == a.at(point) + b.at(point)
    assert (a - b).at(point) == a.at(point) - b.at(point)
    assert (a * b).at(point) == a.at(point) * b.at(point)


@given(dims, dims)
def test_equal_polynomials_are_equal_values_whatever_order_they_were_made_in(a: Dim, b: Dim) -> None:
    assert a + b == b + a
    assert a * b == b * a
    assert a - a == whole(0)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("4096", "4096"),
        ("0", "0"),
        ("TLP*RLP", "RLP*TLP"),
        ("TLP + KV", "KV + TLP"),
        ("2*RLP*3", "6*RLP"),
        ("KV-1", "KV - 1"),
        ("-1 + KV", "KV - 1"),
        ("RLP*TLP*TLP", "RLP*TLP*TLP"),
        ("  RLP * TLP  ", "RLP*TLP"),
        ("RLP - RLP", "0"),
    ],
)
def test_what_is_written_is_canonical(text: str, written: str) -> None:
    assert str(parse_dim(text)) == written


@pytest.mark.parametrize(
    "text",
    ["", " ", "RLP*", "*RLP", "RLP TLP", "2**RLP", "RLP +", "--2", "RLP/2", "1.5", "(RLP)", "RLP^2", "٣", "2 3"],
)
def test_text_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected whole numbers and symbols"):
        parse_dim(text)


def test_an_unknown_symbol_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="unknown symbol 'RLB'; did you mean 'RLP'"):
        parse_dim("RLB*TLP")


def test_text_that_python_would_run_is_only_an_unknown_symbol_or_bad_grammar() -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_dim("__import__('os').getpid()")
    with pytest.raises(ValueError, match="unknown symbol"):
        parse_dim("exit")


def test_only_a_polynomial_without_symbols_is_a_number() -> None:
    assert whole(7).constant == 7
    with pytest.raises(ValueError, match="depends on RLP"):
        _ = symbol("RLP").constant


def test_the_empty_sum_is_0_and_the_empty_product_is_1() -> None:
    assert total([]) == whole(0)
    assert product([]) == whole(1)
