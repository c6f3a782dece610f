"""How far users of a closed loop keep step."""

import numpy as np
import pytest

from papisim.record.users import Users


def asking(arrivals_s, output_tokens=10, number=8):
    users = Users(number)
    for arrival_s in arrivals_s:
        users.asked(float(arrival_s), output_tokens)
    return users


def test_users_who_ask_at_once_in_every_cycle_are_coherent():
    users = asking(np.repeat(np.arange(10) * 3.0, 8))
    assert users.coherence_ratio() == pytest.approx(1, abs=1e-3)
    assert users.are_in_lock_step


def test_users_who_ask_evenly_over_the_cycle_are_not():
    users = asking(np.arange(80) * 3.0 / 8)
    assert users.coherence_ratio() < 0.1
    assert not users.are_in_lock_step


def test_a_burst_over_half_of_the_cycle_has_the_coherence_of_its_width():
    """The mean of exp(2πi·x) over a range of half a cycle is sin(π/2) / (π/2)."""
    phases = (np.arange(100) + 0.5) / 200
    users = asking(np.sort((np.arange(40)[:, None] + phases).ravel()), number=100)
    assert users.coherence_ratio() == pytest.approx(2 / np.pi, rel=0.02)


def test_users_of_unequal_requests_are_in_no_lock_step_while_they_happen_to_be_together():
    users = asking(np.repeat(np.arange(10) * 3.0, 8))
    users.asked(30.0, 11)
    assert users.coherence_ratio() > 0.9
    assert not users.are_in_lock_step


@pytest.mark.parametrize(
    "users", [asking([0, 1, 2], number=1), asking([0.0] * 8), asking([0.0] * 8 + [3.0] * 4), asking([])]
)
def test_one_user_or_less_than_two_cycles_have_no_coherence(users):
    assert users.coherence_ratio() is None
    assert not users.are_in_lock_step
