"""Dimensions with symbols: small integer polynomials such as ``RLP*TLP`` or ``KV + TLP``.

A captured kernel's shape depends on the point it was captured at; lifted, its dimensions are polynomials in the
symbols below. The grammar is sums and differences of products of whole numbers and symbols, with no parentheses and
no division, so that reading one is a few lines and can never run anything.

===============  ===========================================================
``RLP``          requests decoded together
``TLP``          tokens decoded per request in one iteration
``KV``           tokens of each request already in the KV cache
``EXPERT_ROWS``  token-rows that the router sends to the expert at hand
===============  ===========================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import Final

from papisim.errors import did_you_mean

RLP: Final = "RLP"
TLP: Final = "TLP"
KV: Final = "KV"
EXPERT_ROWS: Final = "EXPERT_ROWS"
#: the symbols a dimension may use, in the order they are written
SYMBOLS: Final = (KV, RLP, TLP, EXPERT_ROWS)

#: the symbols of one product, in the order of :data:`SYMBOLS`, repeated for powers; empty for the constant term
Monomial = tuple[str, ...]

_TOKEN = re.compile(r"\s*(?:([0-9]+)|([A-Za-z_][A-Za-z_0-9]*)|([-+*]))")
_GRAMMAR = "whole numbers and symbols joined by *, + and -, such as 2*RLP*TLP or KV + TLP"


@dataclass(frozen=True, slots=True)
class Dim:
    """A polynomial with integer coefficients in :data:`SYMBOLS`.

    Attributes:
        terms: (monomial, coefficient) pairs, no coefficient 0, sorted; two equal polynomials have equal terms.
    """

    terms: tuple[tuple[Monomial, int], ...] = ()

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols it depends on."""
        return frozenset(symbol for monomial, _ in self.terms for symbol in monomial)

    @property
    def constant(self) -> int:
        """The value of a polynomial without symbols.

        Raises:
            ValueError: it has symbols.
        """
        if self.symbols:
            raise ValueError(f"'{self}' depends on {', '.join(sorted(self.symbols))}, expected a whole number")
        return self.terms[0][1] if self.terms else 0

    def at(self, values: Mapping[str, int]) -> int:
        """Return the value where each symbol has the given value.

        Raises:
            KeyError: a symbol that it uses has no value.
        """
        total = 0
        for monomial, value in self.terms:
            for symbol in monomial:
                value *= values[symbol]  # noqa: PLW2901
            total += value
        return total

    def __add__(self, other: Dim) -> Dim:
        return _collect((*self.terms, *other.terms))

    def __sub__(self, other: Dim) -> Dim:
        return self + other * whole(-1)

    def __mul__(self, other: Dim) -> Dim:
        return _collect((a + b, x * y) for a, x in self.terms for b, y in other.terms)

    def __str__(self) -> str:
        text = "".join(_written(monomial, coefficient) for monomial, coefficient in self.terms)
        return text.removeprefix(" + ").replace(" - ", "-", 1) if text.startswith(" -") else text[3:] or "0"


@lru_cache(maxsize=4096)
def whole(number: int) -> Dim:
    """Return the polynomial without symbols that has this value."""
    return Dim((((), number),)) if number else Dim()


def symbol(name: str) -> Dim:
    """Return the polynomial that is one symbol."""
    return monomial_dim((name,), 1)


def monomial_dim(monomial: Monomial, coefficient: int) -> Dim:
    """Return ``coefficient`` times the product of the symbols of ``monomial``."""
    return _collect([(monomial, coefficient)])


def total(dims: Iterable[Dim]) -> Dim:
    """Return the sum of polynomials (0 of none)."""
    return sum(dims, start=whole(0))


def product(dims: Iterable[Dim]) -> Dim:
    """Return the product of polynomials (1 of none)."""
    return prod(dims, start=whole(1))


@lru_cache(maxsize=4096)
def parse_dim(text: str) -> Dim:
    """Read a polynomial as :meth:`Dim.__str__` writes it.

    Raises:
        ValueError: not in the grammar, or a symbol that is not known.
    """
    tokens = _tokens(text)
    if not tokens:
        raise ValueError(f"found '{text}', expected {_GRAMMAR}")
    if tokens[0] not in ("+", "-"):
        tokens.insert(0, "+")
    terms = []
    # a term is what stands between two signs; a sign without a term leaves an empty one, refused below
    for is_sign, run in groupby(tokens, key=lambda token: token in ("+", "-")):
        piece = list(run)
        if is_sign:
            if len(piece) > 1:
                raise ValueError(f"found '{text}', expected {_GRAMMAR}")
            sign = -1 if piece == ["-"] else 1
        else:
            terms.append(_term(piece, sign, text))
    if tokens[-1] in ("+", "-"):
        raise ValueError(f"found '{text}', which ends in a sign; expected {_GRAMMAR}")
    return _collect(terms)


def _tokens(text: str) -> list[str]:
    tokens, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"found '{text}', expected {_GRAMMAR}")
        tokens.append(match[0].strip())
        position = match.end()
    return tokens


def _term(factors: list[str], sign: int, text: str) -> tuple[Monomial, int]:
    coefficient, monomial = sign, []
    if len(factors) % 2 == 0 or any(times != "*" for times in factors[1::2]):
        raise ValueError(f"found '{text}', expected {_GRAMMAR}")
    for factor in factors[::2]:
        if factor.isdigit():
            coefficient *= int(factor)
        elif factor in SYMBOLS:
            monomial.append(factor)
        elif factor == "*":
            raise ValueError(f"found '{text}', expected {_GRAMMAR}")
        else:
            raise ValueError(f"found '{text}' with the unknown symbol '{factor}'; {did_you_mean(factor, SYMBOLS)}")
    return tuple(monomial), coefficient


def _collect(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    sums: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        key = tuple(sorted(monomial, key=SYMBOLS.index))
        sums[key] = sums.get(key, 0) + coefficient
    return Dim(tuple(sorted(((key, value) for key, value in sums.items() if value), key=_order)))


def _order(term: tuple[Monomial, int]) -> tuple[bool, list[int]]:
    """Constants last, then by the symbols' order, so that the same polynomial is always written the same way."""
    monomial, _ = term
    return not monomial, [SYMBOLS.index(symbol) for symbol in monomial]


def _written(monomial: Monomial, coefficient: int) -> str:
    factors = ([str(abs(coefficient))] if abs(coefficient) != 1 or not monomial else []) + list(monomial)
    return (" - " if coefficient < 0 else " + ") + "*".join(factors)
