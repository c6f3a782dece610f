"""Factors by which the truth may differ from the model, and quantities that are sums of products of them.

A factor is log-normal and has an identity, its name: machines that share a part, a library or a link share its factors, so that these cancel
in a ratio. A quantity is ``Q = Σ aᵢ · Π xⱼ``, with amounts ``aᵢ`` in its unit. The mean and the covariances of such sums are exact:
``E[Π xⱼ] = exp(Σ μⱼ + σⱼ²/2)``, and ``Cov(X, Y) = E[X]·E[Y]·(exp(Σ σⱼ²) − 1)`` over the factors that X and Y share. A sum is then taken as
log-normal with these moments (Fenton, IRE Transactions on Communications Systems 8, 1960).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple

#: share of an interval, and the standard deviations of a normal distribution from its middle to its ends
COVERAGE = 0.9
_Z = NormalDist().inv_cdf((1 + COVERAGE) / 2)


class Spread(NamedTuple):
    """Quantiles of truth over model, as ratios: 5 %, 50 % and 95 %."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True)
class Factor:
    """A ratio of truth to model that is not known.

    Attributes:
        name: identity; factors of equal names are the same.
        spread: its quantiles.
        origin: ``measured`` or ``assumed``.
        source: tables or reasons that the quantiles rest on.
    """

    name: str
    spread: Spread
    origin: str
    source: str

    @property
    def mu(self) -> float:
        """Mean of the logarithm: the middle of the outer quantiles, so that both are met."""
        return (math.log(self.spread.low) + math.log(self.spread.high)) / 2

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.log(self.spread.high / self.spread.low) / (2 * _Z)


#: factors of a part of a quantity, by name
Factors = frozenset[Factor]


@dataclass(frozen=True)
class Quantity:
    """A time or an energy by the factors that its parts are subject to.

    Attributes:
        amounts: modelled amount of each part by its factors.
    """

    amounts: Mapping[Factors, float]

    @classmethod
    def of(cls, parts: Iterable[tuple[Factors, float]]) -> Quantity:
        """Return the quantity of parts, those of equal factors added up."""
        amounts: dict[Factors, float] = {}
        for factors, amount in parts:
            amounts[factors] = amounts.get(factors, 0.0) + amount
        return cls({factors: amount for factors, amount in amounts.items() if amount})

    def times(self, factors: Factors) -> Quantity:
        """Return the quantity subject to further factors, as a whole."""
        return Quantity({own | factors: amount for own, amount in self.amounts.items()})

    @property
    def modelled(self) -> float:
        """The quantity as modelled, all factors 1."""
        return sum(self.amounts.values())

    @cached_property
    def expected(self) -> dict[Factors, float]:
        """Expected amount of each part."""
        return {
            factors: amount * math.exp(sum(each.mu + each.sigma**2 / 2 for each in factors))
            for factors, amount in self.amounts.items()
        }

    @property
    def mean(self) -> float:
        """Expected value."""
        return sum(self.expected.values())

    def covariance(self, other: Quantity) -> float:
        """Return the covariance with another quantity, or the variance with itself."""
        return sum(
            one * another * math.expm1(sum(each.sigma**2 for each in factors & others))
            for factors, one in self.expected.items()
            for others, another in other.expected.items()
        )

    @cached_property
    def sensitivities(self) -> dict[Factor, float]:
        """Share of the expected value that each factor scales: percent of the quantity per percent of the factor."""
        shares: dict[Factor, float] = {}
        for factors, amount in self.expected.items():
            for factor in factors:
                shares[factor] = shares.get(factor, 0.0) + amount / self.mean
        return shares


class Estimate(NamedTuple):
    """A log-normal estimate of a quantity or a ratio.

    Attributes:
        log_mean: mean of the logarithm.
        log_sd: standard deviation of the logarithm.
    """

    log_mean: float
    log_sd: float

    @property
    def low(self) -> float:
        """The 5 % quantile."""
        return math.exp(self.log_mean - _Z * self.log_sd)

    @property
    def mid(self) -> float:
        """The median."""
        return math.exp(self.log_mean)

    @property
    def high(self) -> float:
        """The 95 % quantile."""
        return math.exp(self.log_mean + _Z * self.log_sd)

    def over(self, value: float) -> Estimate:
        """Return the estimate of the quantity over a value that is known."""
        return self._replace(log_mean=self.log_mean - math.log(value))

    def times(self, value: float) -> Estimate:
        """Return the estimate of the quantity times a value that is known."""
        return self._replace(log_mean=self.log_mean + math.log(value))

    def to_the(self, power: int) -> Estimate:
        """Return the estimate of a power of the quantity."""
        return Estimate(power * self.log_mean, abs(power) * self.log_sd)

    def above(self, threshold: float) -> float:
        """Return the probability of a value above a positive threshold."""
        if self.log_sd == 0:
            return float(self.log_mean > math.log(threshold))
        return NormalDist(self.log_mean, self.log_sd).cdf(2 * self.log_mean - math.log(threshold))


def _log_covariance(one: Quantity, other: Quantity) -> float:
    return math.log1p(one.covariance(other) / (one.mean * other.mean))


def estimate(quantity: Quantity) -> Estimate:
    """Return the estimate of a quantity: the log-normal distribution of its mean and variance."""
    variance = _log_covariance(quantity, quantity)
    return Estimate(math.log(quantity.mean) - variance / 2, math.sqrt(variance))


def ratio(one: Quantity, other: Quantity) -> Estimate:
    """Return the estimate of one quantity over another; what both share cancels."""
    own, others = _log_covariance(one, one), _log_covariance(other, other)
    variance = max(0.0, own + others - 2 * _log_covariance(one, other))
    return Estimate(math.log(one.mean / other.mean) - (own - others) / 2, math.sqrt(variance))


class Share(NamedTuple):
    """The share of the variance of a logarithm that a factor accounts for, to first order."""

    factor: Factor
    ratio: float


def variance_shares(one: Quantity, other: Quantity | None = None) -> list[Share]:
    """Return the shares of factors in the variance of a quantity, or of one over another, largest first.

    To first order ``Var(ln Q) = Σ eⱼ²·σⱼ²`` with the sensitivities ``eⱼ``; of a ratio, with their differences.
    """
    contributions = dict(_contributions(one.sensitivities, {} if other is None else other.sensitivities))
    total = sum(contributions.values())
    shares = [Share(factor, each / total) for factor, each in contributions.items() if each]
    return sorted(shares, key=lambda share: (-share.ratio, share.factor.name))


def _contributions(own: Mapping[Factor, float], others: Mapping[Factor, float]) -> Iterator[tuple[Factor, float]]:
    for factor in {**own, **others}:
        difference = own.get(factor, 0.0) - others.get(factor, 0.0)
        yield factor, (difference * factor.sigma) ** 2
