"""Laws of spaces: a grid is a product, conditions only take away, samples stay inside, expressions are arithmetic."""

import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.exploration.expression import Expression
from papisim.exploration.space import Axis, Choices, Interval, Sampling, grid, multiplied, sampled, spread, stepped

small = st.integers(1, 4)
sizes = st.lists(small, max_size=5)


def axes_of(lengths, when=None):
    return [
        Axis((f"a{i}",), Choices(tuple((value,) for value in range(length))), when if i else None)
        for i, length in enumerate(lengths)
    ]


def always(axis, values):
    return True


@given(sizes)
def test_a_grid_has_as_many_points_as_the_product_of_its_axes_each_once(lengths):
    axes = axes_of(lengths)
    found = list(grid(axes, always))
    assert len(found) == math.prod(lengths)
    assert len({tuple(point.items()) for point in found}) == len(found)


@given(st.lists(st.tuples(small, small), min_size=1, max_size=3))
def test_axes_that_vary_together_count_once(groups):
    axes = [
        Axis(tuple(f"g{i}n{j}" for j in range(width)), Choices(tuple((v,) * width for v in range(length))))
        for i, (length, width) in enumerate(groups)
    ]
    assert len(list(grid(axes, always))) == math.prod(length for length, _ in groups)


@given(st.lists(small, min_size=1, max_size=4), st.integers(0, 4))
def test_a_condition_only_drops_axes_and_never_repeats_a_point(lengths, bound):
    axes = axes_of(lengths, when=Expression.read("a0 < 1"))
    found = list(grid(axes, lambda axis, values: axis.when is None or values["a0"] < bound))
    assert len({tuple(point.items()) for point in found}) == len(found)
    rest = math.prod(lengths[1:])
    assert len(found) == sum(rest if value < bound else 1 for value in range(lengths[0]))


intervals = st.tuples(st.integers(1, 50), st.integers(1, 50), st.booleans(), st.booleans()).map(
    lambda t: Interval(t[0], t[0] + t[1], log=t[2], whole=t[3])
)


@settings(deadline=None)  # the first draw imports scipy
@given(intervals, st.sampled_from(["random", "lhs", "sobol"]), st.integers(0, 2**31), st.integers(1, 20))
def test_samples_lie_within_their_interval(interval, kind, seed, n):
    drawn = [p["x"] for p in sampled([Axis(("x",), interval)], Sampling(kind, n, seed), always)]
    assert len(drawn) == n
    assert all(interval.low <= value <= interval.high for value in drawn)
    assert all(isinstance(value, int) for value in drawn) or not interval.whole


@given(st.floats(0.1, 1e6), st.floats(1.01, 1e3), st.integers(2, 30), st.booleans())
def test_a_spread_range_has_its_ends_and_even_steps(low, ratio, n, log):
    numbers = spread(low, low * ratio, n, log=log, whole=False)
    assert (numbers[0], numbers[-1], len(numbers)) == (low, low * ratio, n)
    steps = [math.log(b / a) if log else b - a for a, b in pairwise(numbers)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps)


@given(st.integers(-50, 50), st.integers(0, 100), st.integers(1, 9))
def test_a_stepped_range_is_pythons(low, width, step):
    assert stepped(low, low + width, step) == list(range(low, low + width + 1, step))


@given(st.integers(1, 9), st.integers(0, 8))
def test_a_range_of_logarithms_ends_where_its_factor_leads(low, power):
    assert multiplied(low, low * 2**power, 2) == [low * 2**k for k in range(power + 1)]


numbers = st.integers(-1000, 1000)


@given(numbers, numbers, numbers)
def test_expressions_compute_what_python_does(a, b, c):
    names = {"a": a, "b": b, "c": c}
    expected = (a + b * c - (a if b > c else -b), a <= b and b != c, max(a, b) - min(b, c))
    found = [
        Expression.read(text).evaluate(names.__getitem__)
        for text in ("a + b * c - (a if b > c else -b)", "a <= b and not b == c", "max(a, b) - min(b, c)")
    ]
    assert tuple(found) == expected


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from(["<=", "<", ">=", ">"]))
def test_the_sign_of_an_excess_says_whether_a_condition_holds(a, b, comparison):
    expression = Expression.read(f"a {comparison} b")
    excess = expression.excess({"a": a, "b": b}.__getitem__)
    assert excess.holds is expression.evaluate({"a": a, "b": b}.__getitem__)
    assert (excess.ratio > 0) is (not excess.holds)
