"""Rates, quotients and shares as text; a figure that has no value is a dash."""

from __future__ import annotations

from papisim.results.folder import Json
from papisim.units import NO_VALUE

#: reasons of prices outside a fit that are named
_REASONS_SHOWN = 3


def rate(value: float | None) -> str:
    """Write a rate with one decimal."""
    return NO_VALUE if value is None else f"{value:,.1f}"


def times(ratio: float | None) -> str:
    """Write a quotient of two runs: ``1.38×``."""
    return NO_VALUE if ratio is None else f"{ratio:.2f}×"


def percent(ratio: float | None) -> str:
    """Write a share in per cent with one decimal."""
    return NO_VALUE if ratio is None else f"{100 * ratio:.1f} %"


def count(number: int, noun: str) -> str:
    """Write a number of things: ``1 rank``, ``2,000 ranks``, ``3 switches``."""
    plural = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{plural}"


def outside_fits(summary: Json) -> str:
    """Write the share of a run's time that is priced outside a fit, and where for which reasons, the largest first."""
    where: dict[str, list[str]] = {}
    for each in summary["outside_fit"]:
        place = f"{each['resource']} {each['category']} {percent(each['time_ratio'])}"
        where.setdefault(each["reason"], []).append(place)
    reasons = [f"{reason} ({', '.join(places)})" for reason, places in where.items()]
    more = [count(len(reasons) - _REASONS_SHOWN, "more reason")] if len(reasons) > _REASONS_SHOWN else []
    return f"{percent(summary['outside_fit_time_ratio'])} of the time: {'; '.join(reasons[:_REASONS_SHOWN] + more)}"


def can_move(summary: Json) -> bool:
    """Whether some operator of a run may run on more than one device."""
    return any(len(each["candidates"]) > 1 for each in summary.get("operators", []))
