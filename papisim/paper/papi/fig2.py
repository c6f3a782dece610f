"""Figure 2: FC and attention on the roofline of a GPU."""

from __future__ import annotations

from collections.abc import Callable

from papisim.config.system import load_part
from papisim.ops.kernel import KernelClass
from papisim.ops.lower import decode_lengths, lower_attention
from papisim.ops.trace import KernelTrace
from papisim.paper.claims import Value
from papisim.paper.figure import Figure, Table, View
from papisim.paper.papi.fig6 import fc_intensity
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="lines",
    x=("batch", "tlp"),
    y="over_ridge",
    series="kernel",
    x_label="batch, TLP",
    y_label="intensity over the ridge",
    line=1.0,
    log=True,
)


def _ridge(view: View) -> float:
    part = load_part(view.setting("device")).part
    return float(part.peak_flop_per_s / part.memory_bandwidth_bytes_per_s)


def _attention_intensity(trace: KernelTrace, batch: int, tlp: int, kv_tokens: int) -> float:
    kernel = next(kernel for kernel, _ in trace.kernels() if kernel.kernel_class is KernelClass.ATTENTION)
    attention = lower_attention(kernel, trace, decode_lengths(batch, tlp, batch * kv_tokens, kv_tokens))
    return attention.flop / (attention.read_bytes + attention.write_bytes)


def _points(view: View) -> list[tuple[int, int]]:
    along_batch = [(batch, view.setting("tlp")) for batch in view.setting("batches")]
    return along_batch + [(view.setting("batch"), tlp) for tlp in view.setting("tlps")]


def values(view: View) -> dict[str, Value]:
    """Return where FC crosses the ridge, and intensities."""
    trace, ridge, cached = view.bench.trace(view.setting("model")), _ridge(view), view.setting("kv_tokens")
    batch, tlp, small = view.setting("batch"), view.setting("tlp"), view.setting("small_batch")
    attention = [_attention_intensity(trace, *point, cached) for point in _points(view)]
    return {
        "crosses_batch": _first(view.setting("batches"), lambda size: fc_intensity(trace, size * tlp) > ridge),
        "crosses_tlp": _first(view.setting("tlps"), lambda size: fc_intensity(trace, batch * size) > ridge),
        "attention": max(attention) / ridge,
        "fc_intensity": fc_intensity(trace, small * tlp),
        "attention_intensity": _attention_intensity(trace, small, tlp, cached),
    }


def _first(sizes: list[int], bound: Callable[[int], bool]) -> float:
    """Return the first of ascending sizes that is compute-bound; NaN if none is."""
    return next((float(size) for size in sizes if bound(size)), float("nan"))


def table(view: View) -> Table:
    """Return both kernels' intensity at every point."""
    trace, ridge, cached = view.bench.trace(view.setting("model")), _ridge(view), view.setting("kv_tokens")
    return [
        {"batch": batch, "tlp": tlp, "kernel": name, "flop_per_byte": intensity, "over_ridge": intensity / ridge}
        for batch, tlp in _points(view)
        for name, intensity in (
            ("FC", fc_intensity(trace, batch * tlp)),
            ("attention", _attention_intensity(trace, batch, tlp, cached)),
        )
    ]


FIGURE = Figure(values=values, table=table, drawing=CHART)
