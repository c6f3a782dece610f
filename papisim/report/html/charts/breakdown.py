"""Time and energy by part."""

from __future__ import annotations

import pandas as pd

from papisim import units
from papisim.report.html.charts.axes import axis
from papisim.report.html.charts.axes import colours as colours_of
from papisim.report.html.page import Chart, Plotly

#: categories of time, as the frame of steps names them
CATEGORIES = ("fc", "attention", "communication", "other", "draft", "host")
_ENERGY_COLOURS = colours_of((
    "dram_activation", "dram_access", "dram_transfer", "pim_compute", "gpu_compute", "gpu_memory", "link", "static",
))  # fmt: skip


def time(steps: pd.DataFrame) -> Chart | None:
    """Draw seconds by category, prefill and decoding separately; None where no step ran."""
    if steps.empty:
        return None
    columns = [f"{category}_s" for category in CATEGORIES if steps.get(f"{category}_s", pd.Series()).sum() > 0]
    table = steps.groupby("kind", sort=False)[columns].sum()
    names = [column.removesuffix("_s") for column in columns]
    table.columns = names
    bars = stacked(table, colours_of(CATEGORIES), "s")
    layout = {"barmode": "stack", "xaxis": axis("time", "s"), "yaxis": {"autorange": "reversed"}}
    total = table.sum()
    alt = "Of all steps' time, " + _shares(total) + "."
    data = table.rename(columns={name: f"{name}_s" for name in names}).reset_index()
    return Chart("Time", {"data": bars, "layout": layout}, alt, data, height=240)


def energy(energy: pd.DataFrame, resources: list[str]) -> Chart | None:
    """Draw joules by device or link, and by part; None where there is none.

    Args:
        energy: the frame of energy.
        resources: devices and links, in the order of the bars.
    """
    table = energy.pivot_table(index="resource", columns="part", values="energy_j", aggfunc="sum", sort=False).fillna(
        0.0
    )
    table = table.loc[[name for name in resources if name in table.index], table.sum() > 0]
    if table.empty:
        return None
    parts = [part.removesuffix("_j") for part in table.columns]
    table.columns = pd.Index(parts)
    bars = stacked(table, _ENERGY_COLOURS, "j")
    layout = {"barmode": "stack", "xaxis": axis("energy", "j"), "yaxis": {"autorange": "reversed"}}
    alt = "Of all energy, " + _shares(table.sum()) + "; by device, " + _shares(table.sum(axis=1)) + "."
    data = table.rename(columns={part: f"{part}_j" for part in parts}).reset_index()
    note = "Static energy is power that is drawn with and without work, times the makespan."
    return Chart("Energy", {"data": bars, "layout": layout}, alt, data, note, height=240 + 12 * len(table))


def stacked(table: pd.DataFrame, colours: dict[str, str], unit: str) -> list[Plotly]:
    """Return bars along the rows of a table, one series per column."""
    return [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [str(row) for row in table.index],
            "x": table[name],
            "marker": {"color": colours.get(name, "$muted")},
            "text": [units.format(value, unit) for value in table[name]],
            "textposition": "none",
            "hovertemplate": f"%{{y}}, {name}: %{{text}}<extra></extra>",
        }
        for name in table.columns
    ]


def _shares(total: pd.Series) -> str:
    ordered = total[total > 0].sort_values(ascending=False) / total.sum()
    return ", ".join(f"{name} {share:.1%}" for name, share in ordered.items())
