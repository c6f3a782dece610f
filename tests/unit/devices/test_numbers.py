"""The same arithmetic on a number and, entry by entry, on an array."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papisim.devices import numbers
from papisim.devices.numbers import as_column, ceil, choose, each, larger, least, smaller, whole

values = st.floats(-1e6, 1e6)
pairs = st.lists(st.tuples(values, values), min_size=1, max_size=9)


@given(st.lists(values, min_size=1, max_size=9))
def test_rounding_up_an_array_rounds_up_each_entry(entries):
    array = np.array(entries)
    assert ceil(array).tolist() == [ceil(value) for value in entries]
    assert ceil(array).dtype == np.float64
    assert whole(array).tolist() == [whole(value) for value in entries]
    assert whole(array).dtype == np.int64


def test_rounding_goes_up():
    assert (ceil(2.1), ceil(2.0), ceil(-2.1), whole(7.5)) == (3, 2, -2, 8)


@given(pairs)
def test_the_larger_and_the_smaller_of_arrays_are_those_of_each_entry(entries):
    one, other = (np.array(column) for column in zip(*entries, strict=True))
    assert larger(one, other).tolist() == [max(pair) for pair in entries]
    assert smaller(one, other).tolist() == [min(pair) for pair in entries]
    assert larger(one, 5.0).tolist() == [max(a, 5.0) for a, _ in entries] == larger(5.0, one).tolist()
    assert smaller(one, 5.0).tolist() == [min(a, 5.0) for a, _ in entries] == smaller(5.0, one).tolist()


def test_numbers_alone_stay_numbers_of_their_type():
    for found, expected in ((larger(2, 3), 3), (smaller(2, 3), 2), (choose(False, 2, 3), 3), (choose(True, 2, 3), 2)):
        assert found == expected
        assert type(found) is int


def test_a_condition_chooses_entry_by_entry():
    assert choose(np.array([True, False]), np.array([1, 2]), 9).tolist() == [1, 9]


def test_the_least_option_is_that_along_the_last_axis():
    assert least(np.array([[3.0, 1.0], [2.0, 5.0]])).tolist() == [1.0, 2.0]
    assert least(4.0) == 4.0


def test_a_column_broadcasts_against_options_in_a_row():
    assert (as_column([1, 2]) + np.array([10.0, 20.0])).tolist() == [[11, 21], [12, 22]]
    assert as_column(3).shape == (1, 1)


def test_each_changes_the_type_that_is_checked_and_nothing_else():
    array = np.arange(3)
    assert each(array) is array


@pytest.mark.parametrize("name", ["ceil", "whole", "larger", "smaller", "choose", "least"])
def test_numbers_alone_never_become_arrays(name):
    function = getattr(numbers, name)
    arguments = {"ceil": (1.5,), "whole": (1.5,), "choose": (True, 1.0, 2.0), "least": (1.0,)}.get(name, (1.0, 2.0))
    assert isinstance(function(*arguments), int | float)
