"""Which kernels cuBLAS picks for a matrix product, and how it spreads them: names and grids from torch's profiler.

A kernel's name gives its output tile and whether the inputs are split; its grid gives the number of thread blocks. Each
launch is followed by a marker, a kernel that no library of matrix products has, so that the kernels of one product are
those between two markers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import linear

from kernels.harness import Bench, Pool, open_pool
from kernels.linear import Point, other_points
from kernels.linear import points as linear_points
from kernels.profiler import MARKER, events_of
from kernels.tables import Row

COLUMNS = ("m", "k", "n", "dtype", "kernels", "grids")
_POOL_BYTES = 4 << 30
#: products that one profile holds; it keeps every event in memory
_CHUNK = 250

_Kernel = tuple[str, str]


def points(*, smoke: bool) -> list[Point]:
    """Return the products of ``linear.csv`` and ``linear_other.csv``."""
    return linear_points(smoke=smoke) if smoke else [*linear_points(smoke=False), *other_points(smoke=False)]


def measure(bench: Bench, todo: Sequence[Point]) -> Iterator[Row]:
    """Yield the rows of ``gemm_kernels.csv``: none without a GPU."""
    if bench.device.type != "cuda":
        return
    pool = open_pool(bench, _POOL_BYTES, scale=0.02)
    for start in range(0, len(todo), _CHUNK):
        chunk = todo[start : start + _CHUNK]
        for point, found in zip(chunk, _profiled(bench, pool, chunk), strict=True):
            yield {
                "m": point.m, "k": point.weight.k, "n": point.weight.n, "dtype": "float16",
                "kernels": " ".join(name for name, _ in found), "grids": " ".join(grid for _, grid in found),
            }  # fmt: skip


def _profiled(bench: Bench, pool: Pool, chunk: Sequence[Point]) -> list[list[_Kernel]]:
    """Launch each product once and return its kernels."""
    marker = torch.zeros(1, device=bench.device)

    def run() -> None:
        for point in chunk:
            matrix = pool.sets((point.weight.n, point.weight.k), 1)[0]
            linear(torch.ones(point.m, point.weight.k, dtype=torch.float16, device=bench.device), matrix)
            torch.sigmoid(marker)

    return _by_product(events_of(run))


def _by_product(events: Sequence[dict[str, Any]]) -> list[list[_Kernel]]:
    """Cut the kernels of a trace at its markers; kernels that fill operands belong to no product."""
    kernels = sorted((event for event in events if event.get("cat") == "kernel"), key=lambda event: event["ts"])
    found: list[list[_Kernel]] = [[]]
    for event in kernels:
        if MARKER in event["name"]:
            found.append([])
        elif "at::native" not in event["name"]:
            grid = "x".join(str(size) for size in event["args"]["grid"])
            found[-1].append((_short(event["name"]), grid))
    return found[:-1]


def _short(name: str) -> str:
    """Drop a kernel's arguments, and what types a sum over a split is instantiated for."""
    name = name.removeprefix("void ").partition("(")[0].replace(" ", "")
    return name.partition("<")[0] if "splitKreduce" in name else name
