"""Figure 4: FC on PIM against FC on a GPU, from few token-rows to many."""

from __future__ import annotations

from papisim.config.system import load_part
from papisim.devices.base import DevicePool
from papisim.devices.pim import Pool as PimPool
from papisim.ops.kernel import Linear
from papisim.ops.lower import lower
from papisim.ops.trace import KernelTrace
from papisim.paper.claims import Value
from papisim.paper.figure import Figure, Table, View
from papisim.pricing.kernel import pool_of
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="bars",
    x=("batch", "tlp"),
    y="over_gpu",
    series="device",
    x_label="batch, TLP",
    y_label="FC's time over the A100's",
    line=1.0,
    log=True,
)


def fc_kernels(trace: KernelTrace, rows: int) -> list[tuple[Linear, int]]:
    """Return the FC kernels of a model's layers for a number of token-rows, each with the number of layers that have it."""
    lowered = ((lower(kernel, trace, rows), repeats) for kernel, repeats in trace.kernels() if kernel.fc)
    return [(kernel, repeats) for kernel, repeats in lowered if isinstance(kernel, Linear) and repeats > 1]


def _fc_s(pool: DevicePool, trace: KernelTrace, rows: int) -> float:
    return sum(pool.price(kernel).time_s * repeats for kernel, repeats in fc_kernels(trace, rows))


def _ratios(view: View, batch: int, tlp: int) -> dict[str, float]:
    """Return the time of FC on each PIM over that on the GPU."""
    trace, rows = view.bench.trace(view.setting("model")), batch * tlp
    gpu_s = _fc_s(pool_of(load_part(view.setting("gpu")), 1), trace, rows)
    ratios = {}
    for name, system in view.setting("pims").items():
        stacks = view.bench.pim(system, "attn_pim")
        ratios[name] = _fc_s(PimPool(name, stacks.part, view.setting("stacks")), trace, rows) / gpu_s
    return ratios


def values(view: View) -> dict[str, Value]:
    """Return the ratios of all settings."""
    return {
        f"{name}_{batch}_{tlp}": ratio
        for batch, tlp in view.setting("settings")
        for name, ratio in _ratios(view, batch, tlp).items()
    }


def table(view: View) -> Table:
    """Return the ratios of all settings."""
    return [
        {"batch": batch, "tlp": tlp, "device": name, "over_gpu": ratio}
        for batch, tlp in view.setting("settings")
        for name, ratio in _ratios(view, batch, tlp).items()
    ]


FIGURE = Figure(values=values, table=table, drawing=CHART)
