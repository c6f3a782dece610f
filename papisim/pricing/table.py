"""The GPU model over tables of kernels: one prediction per row, for fits and comparisons.

A table is a frame with the columns of its kind (:data:`papisim.calibration.gpu.tables.KINDS`). Each prediction takes the part
and the library as arguments, so that a fit can try other parameters.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from papisim import catalog
from papisim.arrays import Floats
from papisim.catalog import Shelf
from papisim.config.engine import load_engine, part_with_libraries
from papisim.devices.gpu import Pool
from papisim.devices.gpu.attention import AttentionShapes, decode_times, prefill_times
from papisim.devices.gpu.clock import slowed
from papisim.devices.gpu.elementwise import streaming_s
from papisim.devices.gpu.energy import kernel_energy, streaming_energy
from papisim.devices.gpu.linear import linear_times
from papisim.devices.gpu.part import AttentionLibrary, ElementwiseLibrary, LinearLibrary, Part
from papisim.devices.gpu.table import UNFUSED
from papisim.ops.kernel import KernelClass
from papisim.ops.trace import Point, read_trace
from papisim.pricing.step import StepPrice, price_step

#: token-rows up to which equal products in a row leave their board below its power limit
_MOST_IN_ROW = 128


def linear_times_of(part: Part, library: LinearLibrary, rows: pd.DataFrame) -> Floats:
    """Return the model's seconds of matrix products, of those in a row of equal ones less what they overlap."""
    times = linear_times(part, library, rows.m.to_numpy(), rows.k.to_numpy(), rows.n.to_numpy())
    return times - library.row_overlap_s * in_rows(rows)


def in_rows(rows: pd.DataFrame) -> Floats:
    """Return 1 for kernels measured in a row of equal kernels, 0 for those in their places."""
    if "in_row" not in rows:
        return np.zeros(len(rows))
    return (rows.in_row.to_numpy(np.float64) > 0).astype(np.float64)


def at_full_clock(rows: pd.DataFrame) -> npt.NDArray[np.bool]:
    """Return which products have left their board below its power limit: those in their places, in bursts, and few token-rows in a row."""
    return np.asarray((rows.m.to_numpy() <= _MOST_IN_ROW) | (in_rows(rows) == 0), dtype=np.bool)


def attention_times(part: Part, library: AttentionLibrary, rows: pd.DataFrame) -> Floats:
    """Return the model's seconds of decode attention, of launches in a row of equal ones less what they overlap."""
    times = np.asarray(decode_times(part, library, _shapes(rows)), dtype=np.float64)
    return times - library.row_overlap_s * in_rows(rows)


def prefill_times_of(part: Part, library: AttentionLibrary, rows: pd.DataFrame) -> Floats:
    """Return the model's seconds of attention over prompts; a prompt of one token is decoded."""
    times = prefill_times(part, library, _shapes(rows)) - library.prefill.row_overlap_s * in_rows(rows)
    return np.asarray(np.where(rows.kv.to_numpy() > 1, times, decode_times(part, library, _shapes(rows))))


def _shapes(rows: pd.DataFrame) -> AttentionShapes:
    columns = (rows.requests, rows.queries, rows.kv, rows.kv, rows.n_heads, rows.n_kv_heads, rows.head_dim)
    cached_bytes = rows.cache_bits.fillna(16).to_numpy(np.float64) / 8 if "cache_bits" in rows else 2.0
    return AttentionShapes.table(*[column.to_numpy(np.float64) for column in columns], 2.0, cached_bytes)


def _within(sizes: pd.Series[float], span: list[float]) -> pd.Series[bool]:
    return sizes.between(span[0], span[1])


def covered_linear(library: LinearLibrary, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of matrix products within the range of a library's fit."""
    inside = _within(rows.m, library.covers_m) & _within(rows.k, library.covers_k) & _within(rows.n, library.covers_n)
    return rows[inside].reset_index(drop=True)


def covered_attention(part: Part, library: AttentionLibrary, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of decode attention within the range of a library's fit that the peak bandwidth allows.

    Some rows of published tables are of sliding windows and read less than their cache; whole caches would take more than the peak.
    """
    cached_bytes = rows.cache_bits.fillna(16) / 8 if "cache_bits" in rows else 2.0
    read_bytes = 2 * cached_bytes * rows.requests * rows.n_kv_heads * rows.kv * rows.head_dim
    possible = read_bytes / rows.time_s <= part.memory_bandwidth_bytes_per_s
    inside = (
        _within(rows.kv, library.covers_kv)
        & _within(rows.requests, library.covers_requests)
        & _within(rows.head_dim, library.covers_head_dim)
    )
    return rows[inside & possible].reset_index(drop=True)


def by_kernel_class(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the measured operations that represent a kernel class, with ``kernel_class`` and ``n_kernels``."""
    known = rows[rows.op.isin(list(UNFUSED))]
    classes = known.op.map({name: str(kernel_class) for name, (kernel_class, _) in UNFUSED.items()})
    counts = known.op.map({name: count for name, (_, count) in UNFUSED.items()})
    return known.assign(kernel_class=classes, n_kernels=counts).reset_index(drop=True)


def elementwise_times(part: Part, library: ElementwiseLibrary, rows: pd.DataFrame) -> Floats:
    """Return the model's seconds of measured operations, from :func:`by_kernel_class`."""
    each = zip(rows.kernel_class, rows.moved_bytes, rows.n_kernels, strict=True)
    return np.asarray([streaming_s(part, library, library.eager[KernelClass(c)], b, n) for c, b, n in each])


def fused_times(part: Part, library: ElementwiseLibrary, rows: pd.DataFrame) -> Floats:
    """Return the model's seconds of fused kernels with ``kernel_class`` and ``moved_bytes``."""
    each = zip(rows.kernel_class, rows.moved_bytes, strict=True)
    return np.asarray([streaming_s(part, library, library.fused_for(KernelClass(c)), b) for c, b in each])


def elementwise_energies(part: Part, rows: pd.DataFrame, times: Iterable[float]) -> Floats:
    """Return the board's joules of measured operations with given times, idle power included."""
    eager = part.elementwise.eager
    each = zip(rows.kernel_class, rows.moved_bytes, rows.n_kernels, times, strict=True)
    return np.asarray([
        streaming_energy(part, eager[KernelClass(c)], 0.0, b, t, n_kernels=n).total_j + part.static_w * t
        for c, b, n, t in each
    ])  # fmt: skip


def linear_energies(part: Part, rows: pd.DataFrame, times: Floats) -> Floats:
    """Return the board's joules of matrix products in a row with given times, idle power included.

    Joules of an energy counter are those of launches as the power limit slows them. Joules that a table has from a meter's watts
    (``metered_s``) are its watts over the given times, and a meter shows at most the limit.
    """
    flop = 2.0 * rows.m.to_numpy() * rows.k.to_numpy() * rows.n.to_numpy()
    moved = 2.0 * (rows.k * rows.n + rows.m * rows.k + rows.m * rows.n).to_numpy()
    counted = rows.metered_s.isna().to_numpy() if "metered_s" in rows else np.ones(len(rows), bool)
    each = zip(flop, moved, times, counted, strict=True)
    return np.asarray(
        [_counted_j(part, f, b, t) if is_counted else _shown_j(part, f, b, t) for f, b, t, is_counted in each]
    )


def _counted_j(part: Part, flop: float, moved_bytes: float, time_s: float) -> float:
    energy = kernel_energy(part, flop, moved_bytes, time_s)
    added_s, change = slowed(part, time_s, energy)
    return energy.total_j + change.total_j + part.static_w * (time_s + added_s)


def _shown_j(part: Part, flop: float, moved_bytes: float, time_s: float) -> float:
    drawn_j = kernel_energy(part, flop, moved_bytes, time_s).total_j + part.static_w * time_s
    return min(drawn_j, part.board_w * time_s)


def step_prices(part: Part, rows: pd.DataFrame) -> list[StepPrice]:
    """Return the prices of measured decode iterations of shipped models."""
    eager = load_engine("eager").spec  # as they were measured
    equipped, _ = part_with_libraries(part.description, part, eager)
    assert isinstance(equipped, Part)
    pool = Pool(part.description, equipped, 1)
    traces = {name: read_trace(catalog.find(Shelf.TRACE, str(name)).path) for name in rows.model.unique()}
    points = zip(rows.model, rows.rlp, rows.tlp, rows.kv, strict=True)
    return [price_step(pool, traces[model], Point(rlp=r, tlp=t, kv=k), eager) for model, r, t, k in points]
