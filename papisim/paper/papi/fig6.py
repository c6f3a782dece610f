"""Figure 6: the intensity that PAPI's scheduler estimates, RLP × TLP, against that of the FC kernels."""

from __future__ import annotations

from papisim.ops.trace import KernelTrace
from papisim.paper.claims import Value
from papisim.paper.figure import Figure, Table, View
from papisim.paper.papi.fig4 import fc_kernels
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="lines",
    x=("rlp",),
    y="flop_per_byte",
    series="what",
    panel="tlp",
    x_label="RLP",
    y_label="FLOP/B",
    log=True,
)


def fc_intensity(trace: KernelTrace, rows: int) -> float:
    """Return the intensity of a model's FC kernels together, FLOP/B."""
    kernels = fc_kernels(trace, rows)
    flop = sum(kernel.flop * repeats for kernel, repeats in kernels)
    moved = sum((kernel.read_bytes + kernel.write_bytes) * repeats for kernel, repeats in kernels)
    return flop / moved


def values(view: View) -> dict[str, Value]:
    """Return the estimate over the intensity at three RLPs, TLP 1."""
    trace = view.bench.trace(view.setting("model"))
    return {name: rlp / fc_intensity(trace, rlp) for name, rlp in view.setting("estimates").items()}


def table(view: View) -> Table:
    """Return both intensities at every RLP and TLP."""
    trace = view.bench.trace(view.setting("model"))
    return [
        {"tlp": f"TLP {tlp}", "rlp": rlp, "what": what, "flop_per_byte": intensity}
        for tlp in view.setting("tlps")
        for rlp in view.setting("rlps")
        for what, intensity in (("estimated", rlp * tlp), ("FC kernels", fc_intensity(trace, rlp * tlp)))
    ]


FIGURE = Figure(values=values, table=table, drawing=CHART)
