"""Figure 7: energy and power of FC on PIM, by data reuse: the uses of each column that is read."""

from __future__ import annotations

from papisim.devices.pim.energy import column_energy, fed_w
from papisim.paper.claims import Value
from papisim.paper.figure import Figure, Table, View
from papisim.report.print.chart import Chart
from papisim.validation.pim import dram_share

CHART = Chart(
    kind="stacked",
    x=("reuse",),
    y="share",
    series="part",
    x_label="data reuse",
    y_label="share of FC-PIM's energy",
)
_PARTS = {
    "DRAM": ("dram_activation_j", "dram_access_j"),
    "transfer": ("dram_transfer_j",),
    "FPU": ("pim_compute_j",),
}


def values(view: View) -> dict[str, Value]:
    """Return DRAM's share of energy, and power over its budget."""
    fc_pim = view.bench.pim("papi", "fc_pim")
    shares = {name: dram_share(fc_pim, reuse) for name, reuse in view.setting("shares").items()}
    return shares | {name: _budgets(view, *place) for name, place in view.setting("powers").items()}


def _budgets(view: View, system: str, device: str, reuse: int) -> float:
    part = view.bench.pim(system, device).part
    return fed_w(reuse, part.energy, part.organisation, part.fpu) / part.power.budget_w


def table(view: View) -> Table:
    """Return the shares of energy, and power, by reuse."""
    part = view.bench.pim("papi", "fc_pim").part
    rows = []
    for reuse in view.setting("reuses"):
        energy = column_energy(reuse, part.energy, part.organisation, part.fpu)
        watts = fed_w(reuse, part.energy, part.organisation, part.fpu)
        for name, fields in _PARTS.items():
            joules = sum(getattr(energy, field) for field in fields)
            rows.append({"reuse": reuse, "part": name, "share": joules / energy.total_j, "fed_w": watts})
    return rows


FIGURE = Figure(values=values, table=table, drawing=CHART)
