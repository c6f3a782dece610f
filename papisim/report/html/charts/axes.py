"""Axes with units, and the colours of devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from papisim import units
from papisim.report.html.page import SERIES, Plotly


def axis(title: str, unit: str | None = None, **more: Any) -> Plotly:
    """Return a plotly axis whose ticks carry SI prefixes and the symbol of a unit of :data:`papisim.units.UNITS`."""
    if unit == "ratio":
        more = {"tickformat": ".0%", **more}
    elif unit == "tokens_per_s":  # takes no SI prefix
        title, more = f"{title}, {symbol(unit)}", {"tickformat": ",~g", **more}
    elif unit is not None:
        more = {"tickformat": "~s", "ticksuffix": symbol(unit), **more}
    return {"title": {"text": title}, **more}


def lanes_below(**axis_y: Any) -> Plotly:
    """Return a layout's second y axis and bars for lanes of coloured spans, such as the devices of an operator over time."""
    return {
        "yaxis2": {**axis_y, "showgrid": False, "zeroline": False, "fixedrange": True},
        "barmode": "overlay",
        "bargap": 0,
        "hovermode": "closest",
    }


def symbol(unit: str) -> str:
    """Return the symbol of a unit without prefix: ``bytes_per_s`` is ``B/s``."""
    return units.format(1.0, unit).split(" ", 1)[1]


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each name; equal lists get equal colours in every chart."""
    return {name: SERIES[index % len(SERIES)] for index, name in enumerate(names)}
