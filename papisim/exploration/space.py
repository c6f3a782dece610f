"""Spaces of experiments: what a file of a sweep declares, and the points that are in it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from papisim import units
from papisim.errors import InputError, MissingExtra
from papisim.exploration.expression import Expression

if TYPE_CHECKING:
    import numpy as np

#: the values of a point's axes, by name
Values = dict[str, Any]

#: points of a sweep, and values of an axis
MOST_POINTS = 10**6


@dataclass(frozen=True)
class Choices:
    """One of several values; of axes that vary together, each a tuple with a value for each."""

    values: tuple[tuple[object, ...], ...]

    def at(self, share: float) -> tuple[object, ...]:
        """Return the value at a share of the way through the choices, from 0 to below 1."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    @property
    def is_ordered(self) -> bool:
        """Whether the choices are single numbers in ascending order."""
        numbers = [value[0] for value in self.values if len(value) == 1 and is_number(value[0])]
        return len(numbers) == len(self.values) and numbers == sorted(numbers)


@dataclass(frozen=True)
class Interval:
    """A number between two, both included; ``log`` spreads them evenly over their logarithms."""

    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> tuple[object, ...]:
        """Return the value at a share of the way from low to high, from 0 to below 1."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        value = low * (high / low) ** share if self.log else low + (high - low) * share
        return (min(max(round(value), int(self.low)), int(self.high)) if self.whole else value,)


@dataclass(frozen=True)
class Axis:
    """What varies independently of all else: one name, or several together.

    Attributes:
        names: options of a run, paths of fields, or variables.
        domain: the values.
        when: a condition on the axes before; where it does not hold, the axis leaves the point as it is.
    """

    names: tuple[str, ...]
    domain: Choices | Interval
    when: Expression | None = None

    @property
    def title(self) -> str:
        """The names, as a key of one."""
        return ", ".join(self.names)


@dataclass(frozen=True)
class Sampling:
    """How points are drawn, instead of taking all: ``random``, ``sobol`` or ``lhs`` (Latin hypercube)."""

    kind: str
    n: int
    seed: int


#: whether a condition holds for the axes chosen so far
Holds = Callable[[Axis, Values], bool]


def grid(axes: Sequence[Axis], holds: Holds) -> Iterator[Values]:
    """Yield the product of all axes, the last varying fastest.

    Raises:
        InputError: there are too many points to list.
    """
    count = math.prod(len(axis.domain.values) for axis in axes if isinstance(axis.domain, Choices))
    if count > MOST_POINTS:
        raise InputError(
            f"makes {count:,} points, expected at most {MOST_POINTS:,}; draw some of them with a 'sample'"
        )
    yield from _grid(tuple(axes), {}, holds)


def _grid(axes: tuple[Axis, ...], values: Values, holds: Holds) -> Iterator[Values]:
    if not axes:
        yield values
        return
    axis, *rest = axes
    if not holds(axis, values):
        yield from _grid(tuple(rest), values, holds)
        return
    if isinstance(axis.domain, Choices):
        for chosen in axis.domain.values:
            yield from _grid(tuple(rest), {**values, **dict(zip(axis.names, chosen, strict=True))}, holds)


def sampled(axes: Sequence[Axis], sampling: Sampling, holds: Holds) -> Iterator[Values]:
    """Yield points drawn from all axes."""
    for row in _shares(sampling, len(axes)):
        shares = dict(zip((axis.names for axis in axes), row.tolist(), strict=True))
        yield chosen(axes, lambda axis, shares=shares: axis.domain.at(shares[axis.names]), holds)  # type: ignore[misc]


def chosen(axes: Sequence[Axis], pick: Callable[[Axis], tuple[object, ...]], holds: Holds) -> Values:
    """Return the point that a choice on each axis makes; axes whose condition does not hold are not asked."""
    values: Values = {}
    for axis in axes:
        if holds(axis, values):
            values |= zip(axis.names, pick(axis), strict=True)
    return values


def _shares(sampling: Sampling, n_axes: int) -> np.ndarray:
    """Return an array of n × n_axes numbers from 0 to below 1."""
    import numpy as np  # noqa: PLC0415 - a space that is not drawn from does without

    rng = np.random.default_rng(sampling.seed)
    if sampling.kind == "random":
        return rng.random((sampling.n, n_axes))
    try:
        from scipy.stats import qmc  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise MissingExtra(f"sample: {sampling.kind}", "scipy", "sweep") from None
    if sampling.kind == "lhs":
        return np.asarray(qmc.LatinHypercube(n_axes, rng=rng).random(sampling.n))
    drawn = qmc.Sobol(n_axes, rng=rng).random_base2(max(0, math.ceil(math.log2(sampling.n))))
    return np.asarray(drawn)[: sampling.n]


def spread(low: float, high: float, n: int, *, log: bool, whole: bool) -> list[float]:
    """Return n numbers from low to high, evenly spaced themselves or in their logarithms; whole ones once each."""
    shares = [index / (n - 1) for index in range(n)] if n > 1 else [0.0]
    spaced = [low * (high / low) ** share if log else low + (high - low) * share for share in shares]
    if whole:
        return list(dict.fromkeys(round(value) for value in spaced))
    return [low, *spaced[1:-1], *([high] if n > 1 else [])]


def stepped(low: float, high: float, step: float) -> list[float]:
    """Return low, low + step, … up to high."""
    count = _listable((high - low) / step)
    return [low + index * step for index in range(count)]


def _listable(n_steps: float) -> int:
    """Return the number of values that ``n_steps`` steps make.

    Raises:
        InputError: it is too large to list.
    """
    if n_steps >= MOST_POINTS:
        raise InputError(f"makes {n_steps:.3g} values, expected at most {MOST_POINTS:,}; widen the step")
    return math.floor(n_steps * (1 + 1e-12)) + 1


def multiplied(low: float, high: float, factor: float) -> list[float]:
    """Return low, low · factor, … up to high."""
    count = _listable(math.log(high / low) / math.log(factor))
    return [low * factor**index for index in range(count)]


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number (true and false are none)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_cell(value: object) -> object:
    """Return a value as a frame can hold it: a list or mapping becomes JSON."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list, tuple)) else value


def in_si(name: str, value: object) -> object:
    """Return a text with a unit in SI, where a field's name says that it is a quantity.

    Raises:
        InputError: the text is no quantity of that unit.
    """
    unit = units.unit_of(name.rpartition(".")[2])
    return units.parse(value, unit) if unit is not None and isinstance(value, str) else value


def cells(values: Mapping[str, object]) -> dict[str, object]:
    """Return values as a row of a frame holds them."""
    return {name: as_cell(value) for name, value in values.items()}
