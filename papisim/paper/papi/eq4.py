"""Equation 4: the number of banks of a die that leaves area for four FPUs each."""

from __future__ import annotations

from papisim.devices.pim import Part
from papisim.devices.pim.area import Area
from papisim.errors import InputError
from papisim.paper.claims import Value
from papisim.paper.figure import Figure, Table, View
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="lines",
    x=("fpus_per_bank",),
    y="most_banks",
    series="device",
    x_label="FPUs per bank",
    y_label="banks per die",
)


def values(view: View) -> dict[str, Value]:
    """Return the largest number of banks that fits, and the number that is built."""
    part, area = _die(view)
    most = area.most_banks(part.fpu.fpus / part.fpu.per_banks)
    return {"most_banks": most, "built_banks": part.organisation.banks / area.dies}


def table(view: View) -> Table:
    """Return the most banks per die by FPUs per bank."""
    _, area = _die(view)
    return [
        {"device": view.setting("device"), "fpus_per_bank": fpus, "most_banks": area.most_banks(fpus)}
        for fpus in (0.5, 1, 2, 3, 4, 8)
    ]


def _die(view: View) -> tuple[Part, Area]:
    part = view.bench.pim(view.setting("system"), view.setting("device")).part
    if part.area is None:
        raise InputError(f"device '{view.setting('device')}' of {view.setting('system')} has no area")
    return part, part.area


FIGURE = Figure(values=values, table=table, drawing=CHART)
