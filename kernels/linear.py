"""Fully connected kernels: FP16 activations times an FP16 weight, as ``torch.nn.functional.linear`` runs them.

On a GPU that is cuBLAS. The activations stay in cache, as the kernel before has just written them; the weight comes
from memory. An LM head is one of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import linear

from kernels.harness import Bench, Pool, Timing, open_pool
from kernels.shapes import ENERGY_TOKEN_ROWS, Weight, energy_weights, linear_plan, models_with, other_plan
from kernels.tables import Row

COLUMNS = ("models", "m", "k", "n", "dtype", "time_s", "energy_j", "library")
_POOL_BYTES = 6 << 30
_FASTEST_BYTES_PER_S, _FASTEST_FLOP_PER_S, _SHORTEST_S = 5e12, 9e14, 2.5e-6  # choose graph lengths, enter no result


@dataclass(frozen=True)
class Point:
    """One kernel to measure, its energy too or not."""

    m: int
    weight: Weight
    energy: bool = False


def points(*, smoke: bool) -> list[Point]:
    """Return every kernel of the table."""
    if smoke:
        return [Point(1, Weight(64, 96)), Point(3, Weight(64, 96))]
    with_energy = energy_weights()
    return [
        Point(m, weight, weight in with_energy and m in ENERGY_TOKEN_ROWS)
        for weight, token_rows in linear_plan()
        for m in token_rows
    ]


def other_points(*, smoke: bool) -> list[Point]:
    """Return kernels of models without a trace: to fit to more shapes, and to hold out more."""
    if smoke:
        return points(smoke=True)
    return [Point(m, weight) for weight, token_rows in other_plan() for m in token_rows]


def repeat_points(*, smoke: bool) -> list[Point]:
    """Return the dense models' own weights, without energy: measured on a second board they show the spread."""
    chosen = energy_weights()
    return [Point(p.m, p.weight) for p in points(smoke=smoke) if smoke or p.weight in chosen]


def measure(bench: Bench, todo: Sequence[Point]) -> Iterator[Row]:
    """Yield the rows of ``linear.csv``."""
    pool = open_pool(bench, _POOL_BYTES, scale=0.02)
    for point in todo:
        timing = time_one(bench, pool, point.m, point.weight, energy=point.energy)
        yield {
            "models": " ".join(models_with().get(point.weight, ())), "m": point.m, "k": point.weight.k, "n": point.weight.n, "dtype": "float16",
            "time_s": timing.time_s, "energy_j": timing.energy_j, "library": library(bench),
        }  # fmt: skip


def library(bench: Bench) -> str:
    """Name the kernel library behind ``linear``."""
    return "cublas" if bench.device.type == "cuda" else "cpu"


def time_one(bench: Bench, pool: Pool, m: int, weight: Weight, *, energy: bool = False) -> Timing:
    """Time an ``(m, k)`` activation times a ``(k, n)`` weight."""
    n_sets = bench.sets(2 * weight.k * weight.n)
    matrices = pool.sets((weight.n, weight.k), n_sets)
    activation = torch.randn(m, weight.k, dtype=torch.float16, device=bench.device)

    def launch(index: int) -> torch.Tensor:
        return linear(activation, matrices[index])

    size = weight.k * weight.n
    floor_s = max(2 * size / _FASTEST_BYTES_PER_S, 2 * m * size / _FASTEST_FLOP_PER_S, _SHORTEST_S)
    return bench.time(launch, n_sets, floor_s, energy=energy)
