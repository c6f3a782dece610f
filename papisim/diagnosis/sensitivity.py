"""Sensitivities: change of throughput in percent per percent of a number of the hardware.

The time of the run is evaluated with the number a little lower and a little higher, and the elasticity ``e = −Δln T / Δln x``
is taken between the two (T: seconds of the run, x: the number; the tokens stay). Times are sums of latencies and of work
over rates, so where nothing is rounded the elasticities of all rates, less those of all latencies, add up to one (Euler's
theorem: T is homogeneous of degree one in latencies and inverse rates).

Models round: clock cycles, waves of tiles, columns, stacks. Two steps tell: where the elasticity over ±1 % agrees with the one
over ±10 % the time is smooth and the former is given; where not, it moves in steps or bends there, and the latter is given,
with the gain on either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from papisim.diagnosis.parameters import Parameter, moved

#: half widths of the two differences
FINE, WIDE = 0.01, 0.1
#: elasticities that differ by no more, or by no larger share, agree
_NEAR, _NEAR_SHARE = 0.005, 0.1

#: seconds of the run with another value of a number
TimeWith = Callable[[Parameter, float], float]


@dataclass(frozen=True)
class Elasticity:
    """Sensitivity of throughput to one number.

    Attributes:
        parameter: the number.
        elasticity: percent of throughput per percent of the number.
        step_ratio: half width of the difference, as a share of the number.
        smooth: whether a finer and a wider difference agree; otherwise the time bends or moves in steps, and ``elasticity``
            is the mean slope of the wider.
        lower: the number lowered by the wider step, raised: the number raised by it.
        lowered_ratio: throughput with ``lower`` over throughput as it is, less one; ``raised_ratio`` likewise.
    """

    parameter: Parameter
    elasticity: float
    step_ratio: float
    smooth: bool
    lower: float
    higher: float
    lowered_ratio: float
    raised_ratio: float


def elasticities(time_with: TimeWith, wanted: Iterable[Parameter]) -> list[Elasticity]:
    """Return the sensitivity of throughput to each number that it depends on, strongest first.

    Args:
        time_with: seconds of the run with another value of a number.
        wanted: the numbers.
    """
    found = [_elasticity(time_with, parameter) for parameter in wanted]
    moving = [each for each in found if each.lowered_ratio or each.raised_ratio]
    return sorted(moving, key=lambda each: -abs(each.elasticity))


def _elasticity(time_with: TimeWith, parameter: Parameter) -> Elasticity:
    as_it_is_s = time_with(parameter, parameter.value)
    lower, higher = moved(parameter, -WIDE), moved(parameter, WIDE)
    low_s, high_s = time_with(parameter, lower), time_with(parameter, higher)
    sides = lower, higher, as_it_is_s / low_s - 1, as_it_is_s / high_s - 1
    wide, wide_step = _slope(parameter, (lower, low_s), (higher, high_s))
    if low_s == as_it_is_s == high_s:
        return Elasticity(parameter, 0.0, wide_step, True, *sides)
    near = [(value, time_with(parameter, value)) for value in (moved(parameter, -FINE), moved(parameter, FINE))]
    fine, fine_step = _slope(parameter, *near)
    if fine_step < wide_step and abs(fine - wide) <= max(_NEAR, _NEAR_SHARE * abs(wide)):
        return Elasticity(parameter, fine, fine_step, True, *sides)
    return Elasticity(parameter, wide, wide_step, False, *sides)


def _slope(parameter: Parameter, low: tuple[float, float], high: tuple[float, float]) -> tuple[float, float]:
    """Return the elasticity between two (value, seconds), and the half width."""
    slope = math.log(low[1] / high[1]) / math.log(high[0] / low[0])
    return slope, (high[0] - low[0]) / 2 / parameter.value
