"""Equation 4: how many banks leave room for four FPUs each."""

from __future__ import annotations

from papisim.paper.cell import Cell
from papisim.paper.figure import Table, View
from papisim.paper.outcomes import Value
from papisim.paper.study import Study
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="lines",
    x=("fpus_per_bank",),
    y="most_banks",
    series="device",
    x_label="FPUs a bank",
    y_label="banks a die",
)


def cells(study: Study) -> list[Cell]:
    """Return none: the figure is on a die."""
    del study
    return []


def values(view: View) -> dict[str, Value]:
    """Return the most banks that fit, and those that are built."""
    part = view.bench.pool(view.setting("system"), view.setting("device")).part
    most = part.area.most_banks(part.fpu.fpus / part.fpu.per_banks)
    return {"most_banks": most, "built_banks": part.organisation.banks / part.area.dies}


def table(view: View) -> Table:
    """Return the most banks a die by FPUs a bank."""
    device = view.setting("device")
    area = view.bench.pool(view.setting("system"), device).part.area
    return [
        {"device": device, "fpus_per_bank": fpus, "most_banks": area.most_banks(fpus)}
        for fpus in (0.5, 1, 2, 3, 4, 8)
    ]
