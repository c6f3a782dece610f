"""What products take in a burst, and once the power limit has settled the clock: one row per shape.

A burst is the median of a few short graphs after a pause, as :mod:`kernels.linear` measures. The sustained time, the clock
and the power are means over the late part of a run that never lets the GPU wait, as a serving engine's prompts do.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn.functional import linear

from kernels.harness import Bench, EnergyCounter, Ticks, captured, open_pool
from kernels.tables import Row

COLUMNS = ("rows", "n", "k", "burst_s", "sustained_s", "sm_hz", "power_w")
ROWS, SHAPES = (16, 128, 256, 512, 1024, 2048, 4096, 8192), ((12288, 4096), (22016, 4096), (4096, 11008))
_PAUSE_S, _SETTLE_S, _WINDOW_S, _CHUNK_S, _GRAPH_S = 0.3, 0.6, 0.6, 0.03, 2e-3
_POOL_BYTES = 4 << 30
#: chooses graph lengths, enters no result
_FASTEST_FLOP_PER_S, _FASTEST_BYTES_PER_S = 1e15, 5e12


@dataclass(frozen=True)
class Point:
    """A product of FP16 numbers: (rows, k) by (k, n)."""

    rows: int
    n: int
    k: int

    @property
    def floor_s(self) -> float:
        """Seconds below which no GPU gets."""
        return max(2 * self.rows * self.n * self.k / _FASTEST_FLOP_PER_S, 2 * self.n * self.k / _FASTEST_BYTES_PER_S)


class Settled(NamedTuple):
    """Means over the late part of a run."""

    time_s: float
    sm_hz: float
    power_w: float | None


def points(*, smoke: bool) -> list[Point]:
    """Return every point, row counts innermost."""
    return [Point(2, 16, 16)] if smoke else [Point(rows, n, k) for n, k in SHAPES for rows in ROWS]


def measure(bench: Bench, todo: Sequence[Point]) -> Iterator[Row]:
    """Yield the rows of ``sustained.csv``; without a GPU and its energy counter there is no clock to settle."""
    pool = open_pool(bench, _POOL_BYTES, 0.1)
    for point in todo:
        set_bytes = 2 * (point.rows * point.k + point.n * point.k)
        n_sets = bench.sets(set_bytes)
        inputs, weights = pool.sets((point.rows, point.k), n_sets), pool.sets((point.n, point.k), n_sets)
        product = _product(inputs, weights)
        if bench.counter is None:
            yield _row(point, bench.time(product, n_sets, point.floor_s).time_s, Settled(math.nan, math.nan, None))
            continue
        n_launches = max(n_sets, math.ceil(_GRAPH_S / point.floor_s))
        graph = captured(product, n_sets, n_launches, bench.stream)
        time.sleep(_PAUSE_S)
        burst_s = bench.replay_s(graph)
        settled = _sustain(graph.replay, burst_s, bench.counter)
        graph.reset()
        torch.cuda.empty_cache()
        yield _row(point, burst_s / n_launches, settled._replace(time_s=settled.time_s / n_launches))


def _product(inputs: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]) -> Callable[[int], object]:
    return lambda index: linear(inputs[index], weights[index])


def _sustain(replay: Callable[[], None], graph_s: float, counter: EnergyCounter) -> Settled:
    """Replay without a pause and return means after the clock has settled; chunks are queued one ahead."""
    n_chunk = math.ceil(_CHUNK_S / graph_s)
    ticks, clocks, ends = Ticks(counter), [], []
    start_s = time.perf_counter()
    settled_s, end_s = start_s + _SETTLE_S, start_s + _SETTLE_S + _WINDOW_S
    first = 0
    while time.perf_counter() < end_s:
        for _ in range(n_chunk):
            replay()
        ends.append(_marked())
        while len(ends) > 1 and not ends[-2].query():
            ticks.poll()
            time.sleep(1e-3)
        if time.perf_counter() >= settled_s:
            first = first or len(ends) - 1
            clocks.append(counter.sm_hz())
    torch.cuda.synchronize()
    time_s = ends[first].elapsed_time(ends[-1]) * 1e-3 / (n_chunk * (len(ends) - 1 - first))
    return Settled(time_s, statistics.fmean(clocks), ticks.watts_after(settled_s))


def _marked() -> Any:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _row(point: Point, burst_s: float, settled: Settled) -> Row:
    return {
        "rows": point.rows, "n": point.n, "k": point.k, "burst_s": burst_s, "sustained_s": _or_none(settled.time_s),
        "sm_hz": _or_none(settled.sm_hz), "power_w": settled.power_w,
    }  # fmt: skip


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
