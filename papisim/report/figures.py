"""Rates, quotients and shares as text; a figure that has no value is a dash."""

from __future__ import annotations

from papisim.units import NO_VALUE


def rate(value: float | None) -> str:
    """Write a rate with one decimal."""
    return NO_VALUE if value is None else f"{value:,.1f}"


def times(ratio: float | None) -> str:
    """Write a quotient of two runs: ``1.38×``."""
    return NO_VALUE if ratio is None else f"{ratio:.2f}×"


def percent(ratio: float | None) -> str:
    """Write a share in per cent with one decimal."""
    return NO_VALUE if ratio is None else f"{100 * ratio:.1f} %"
