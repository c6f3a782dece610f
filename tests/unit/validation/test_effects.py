"""Random effects: intervals hold errors of groups that were not seen."""

import numpy as np
import pytest

from papisim.validation.effects import effects


def drawn(seed, n_groups, between, within, n=40):
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal(0.1, between), within, n) for _ in range(n_groups)]


@pytest.mark.parametrize(("between", "within"), [(0.1, 0.05), (0.0, 0.1), (0.2, 0.0)])
def test_nine_of_ten_errors_of_a_further_group_are_held(between, within):
    held = []
    for seed in range(150):
        *seen, new = drawn(seed, 7, between, within)
        held.append(effects(seen).holds(new))
    assert 0.87 < np.mean(held) < 0.95


def test_few_groups_are_less_sure_than_many():
    few, many = (effects(drawn(0, n, 0.1, 0.05)).half_width for n in (4, 200))
    assert few > 1.2 * many
    assert many == pytest.approx(1.645 * np.hypot(0.1, 0.05), rel=0.1)


def test_two_groups_tell_no_spread_between_groups():
    with pytest.raises(ValueError, match="at least 3"):
        effects(drawn(0, 2, 0.1, 0.1))
