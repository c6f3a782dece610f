"""Intervals on the console."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.table import Table

from papisim import units
from papisim.report.console.console import console
from papisim.report.figures import rate, times
from papisim.results.folder import Json

#: figures that are shown of several runs
_OF_SEVERAL = ("throughput_tokens_per_s", "speed_up_ratio", "energy_per_token_j", "energy_efficiency_ratio")
#: what ends the part of a description that is shown
_ENDS = re.compile(r",| with |;")


def print_uncertainty(rows: Sequence[Json]) -> None:
    """Print the rows of the frame ``uncertainty`` on stdout; nothing if there are none."""
    if not rows:
        return
    from papisim.uncertainty.factor import COVERAGE  # noqa: PLC0415 - runs without intervals should not wait for them

    page = console()
    several = len({row["machine"] for row in rows}) > 1
    headers = [
        *(["machine"] if several else []),
        "figure",
        "simulated",
        "5 %",
        "95 %",
        *(["better"] if several else []),
    ]
    table = Table(
        *headers, "dominated by", title=f"How sure: {COVERAGE:.0%} intervals", title_justify="left", box=None
    )
    for row in rows:
        if not several or row["figure"] in _OF_SEVERAL:
            table.add_row(*([row["machine"]] if several else []), *_cells(row, several=several))
    page.print(table)


def _cells(row: Json, *, several: bool) -> list[str]:
    name = row["figure"]
    shown = [_value(name, row[end]) for end in ("value", "low", "high")]
    better = row["better_probability"]
    probable = [("" if better is None else f"{100 * better:.0f} %")] if several else []
    return [_label(name), *shown, *probable, _dominant(row)]


def _label(figure: str) -> str:
    unit = units.unit_of(figure)
    name = figure if unit is None else figure.removesuffix(f"_{unit}")
    return name.replace("_", " ")


def _value(figure: str, value: float) -> str:
    unit = units.unit_of(figure)
    if unit == "tokens_per_s":
        return f"{rate(value)} tokens/s"
    return times(value) if unit == "ratio" else units.format(value, unit, 3) if unit else f"{value:.4g}"


def _dominant(row: Json) -> str:
    name = row["dominant_factor"]
    if name is None:
        return units.NO_VALUE
    error, _, part = name.partition(": ")
    short = f"{error}: {_ENDS.split(part)[0]}"
    return f"{short} {100 * row['dominant_variance_ratio']:.0f} %"
