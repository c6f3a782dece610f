"""Sums of products of log-normal factors: exact moments, and what cancels in a ratio."""

import math

import numpy as np
import pytest

from papisim.uncertainty.factor import Factor, Quantity, Spread, estimate, ratio, variance_shares


def factor(name: str, low: float, high: float) -> Factor:
    return Factor(name, Spread(low, math.sqrt(low * high), high), "measured", "a table")


FC, LINK, POWER = factor("fc", 0.8, 1.25), factor("link", 0.9, 1.3), factor("power", 0.7, 1.1)


def drawn(quantity: Quantity, factors: dict[Factor, np.ndarray]) -> np.ndarray:
    """Return values of a quantity for drawn values of its factors."""
    return sum(
        amount * np.prod([factors[each] for each in product], axis=0) for product, amount in quantity.amounts.items()
    )


@pytest.fixture(scope="module")
def draws() -> dict[Factor, np.ndarray]:
    rng = np.random.default_rng(0)
    return {each: np.exp(rng.normal(each.mu, each.sigma, 200_000)) for each in (FC, LINK, POWER)}


def test_one_factor_alone_gives_back_its_quantiles():
    found = estimate(Quantity.of([(frozenset({FC}), 3.0)]))
    assert (found.low, found.high) == pytest.approx((3 * 0.8, 3 * 1.25))


def test_moments_are_those_of_drawn_factors(draws):
    quantity = Quantity.of([(frozenset({FC}), 3.0), (frozenset({LINK, POWER}), 2.0), (frozenset(), 1.0)])
    values = drawn(quantity, draws)
    assert quantity.mean == pytest.approx(values.mean(), rel=2e-3)
    assert quantity.covariance(quantity) == pytest.approx(values.var(), rel=0.02)
    found = estimate(quantity)
    assert (found.low, found.high) == pytest.approx(np.quantile(values, (0.05, 0.95)), rel=0.01)


def test_a_ratio_is_that_of_drawn_factors_which_both_share(draws):
    one = Quantity.of([(frozenset({FC}), 3.0), (frozenset({LINK}), 1.0)])
    other = Quantity.of([(frozenset({FC}), 2.0), (frozenset({POWER}), 1.0)])
    values = drawn(one, draws) / drawn(other, draws)
    found = ratio(one, other)
    assert (found.low, found.mid, found.high) == pytest.approx(np.quantile(values, (0.05, 0.5, 0.95)), rel=0.01)
    assert found.above(1.5) == pytest.approx((values > 1.5).mean(), abs=0.01)


def test_what_both_share_cancels_in_a_ratio():
    shared = [(frozenset({FC}), 3.0)]
    equal = ratio(Quantity.of(shared), Quantity.of([(frozenset({FC}), 6.0)]))
    assert (equal.low, equal.high) == pytest.approx((0.5, 0.5))
    one, other = (Quantity.of([*shared, (frozenset({own}), 1.0)]) for own in (LINK, POWER))
    independent = math.hypot(estimate(one).log_sd, estimate(other).log_sd)
    assert ratio(one, other).log_sd < 0.6 * independent


def test_the_variance_is_shared_by_squares_of_sensitivity_and_spread():
    quantity = Quantity.of([(frozenset({FC}), 3.0), (frozenset({LINK}), 1.0)])
    first, second = variance_shares(quantity)
    assert (first.factor, second.factor) == (FC, LINK)
    assert first.ratio + second.ratio == pytest.approx(1)
    weights = [quantity.sensitivities[each] * each.sigma for each in (FC, LINK)]
    assert first.ratio / second.ratio == pytest.approx((weights[0] / weights[1]) ** 2)
    assert [share.factor for share in variance_shares(quantity, Quantity.of([(frozenset({FC}), 1.0)]))] == [FC, LINK]


def test_a_certain_ratio_is_above_what_it_is_above():
    certain = Quantity.of([(frozenset(), 2.0)]), Quantity.of([(frozenset(), 1.0)])
    assert (ratio(*certain).above(1.9), ratio(*certain).above(2.1)) == (1.0, 0.0)
