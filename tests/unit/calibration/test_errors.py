import numpy as np
import pytest

from papisim.calibration.errors import errors_of


def test_errors_are_relative_to_what_was_measured_and_signed():
    errors = errors_of(np.array([1.1, 0.8, 2.0]), np.array([1.0, 1.0, 2.0]))
    assert (errors.n, errors.mape, errors.bias) == (3, pytest.approx(0.1), pytest.approx(-0.1 / 3))


def test_half_of_what_was_measured_is_an_error_of_minus_a_half():
    errors = errors_of(np.array([1.0]), np.array([2.0]))
    assert (errors.mape, errors.p95, errors.bias) == (0.5, 0.5, -0.5)


def test_one_of_twenty_is_left_out_of_p95():
    predicted = np.ones(41)
    predicted[:2] = 10.0
    assert errors_of(predicted, np.ones(41)).p95 == 0
    predicted[:3] = 10.0
    assert errors_of(predicted, np.ones(41)).p95 == pytest.approx(9)


def test_errors_are_printed_in_percent():
    assert str(errors_of(np.array([1.1]), np.array([1.0]))) == "MAPE 10.0%, p95 10.0%, bias +10.0% over 1"
