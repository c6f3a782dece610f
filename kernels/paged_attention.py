"""Attention as vLLM runs it on Hopper: FlashAttention 3 over a paged cache of 16- or 8-bit numbers.

``time_s`` is a launch in a row of equal launches, ``kernel_s`` the seconds of its kernels alone as torch's profiler records
them, what combines a split included. Decoding and drafts are scheduled as in the engine's CUDA graphs, prompts without.
Eight-bit caches come with eight-bit queries; quantising those is not in the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch

from kernels import vllm_ops
from kernels.harness import Bench, Pool, captured, open_pool
from kernels.profiler import kernels_of
from kernels.tables import Row

COLUMNS = (
    "requests", "n_heads", "n_kv_heads", "head_dim", "queries", "kv", "cache_bits", "time_s", "kernel_s", "n_kernels",
    "paged_library",
)  # fmt: skip
_POOL_BYTES, _MOST_BYTES = 16 << 30, 12e9
_FASTEST_BYTES_PER_S, _FASTEST_FLOP_PER_S, _SHORTEST_S = 5e12, 9e14, 4e-6  # choose graph lengths, enter no result
_GRAPH_S, _MOST_LAUNCHES, _CHUNK = 1.5e-3, 100, 60

REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CACHED = (128, 300, 512, 1000, 1024, 2048, 3000, 4096, 8192, 16384)
HEADS = ((32, 32), (32, 8), (40, 8), (64, 8), (8, 1), (16, 2))


@dataclass(frozen=True)
class Point:
    """Attention of some requests; several queries of a request see those before them."""

    heads: tuple[int, int]
    requests: int
    queries: int
    kv: int
    cache_bits: int = 16
    head_dim: int = 128

    @property
    def cache_elements(self) -> int:
        """Numbers of keys and values in whole pages."""
        pages = self.requests * -(-self.kv // vllm_ops.PAGE_TOKENS)
        return 2 * pages * vllm_ops.PAGE_TOKENS * self.heads[1] * self.head_dim

    @property
    def graph(self) -> bool:
        """Whether the engine has a CUDA graph for it."""
        return self.requests * self.queries <= 512 and self.queries <= 16  # noqa: PLR2004 - vLLM's largest, with drafts


def points(*, smoke: bool) -> list[Point]:
    """Return every point: decoding, drafts, eight-bit caches, whole prompts and chunks of them."""
    if smoke:
        return [Point((4, 2), 2, 1, 40, head_dim=16), Point((4, 4), 1, 24, 40, head_dim=16)]
    decoding = [Point(*each) for each in product(HEADS, REQUESTS, (1,), CACHED)]
    drafts = [
        Point(*each) for each in product(HEADS[:4:3] + HEADS[1:2], (1, 4, 16, 32, 64), (2, 4, 8), (256, 1024, 4096))
    ]
    eight = [
        Point(*each, 8)
        for each in product((HEADS[0], HEADS[1], HEADS[3], HEADS[4]), REQUESTS[::2], (1,), CACHED[::2])
    ]
    whole = [
        Point(heads, n, rows, rows) for heads, n, rows in product(HEADS, (1, 4), (128, 256, 512, 1024, 2048, 4096))
    ]
    chunks = [
        Point(heads, 1, rows, kv)
        for heads, (rows, kv) in product(
            HEADS,
            (
                (128, 1024),
                (256, 4096),
                (512, 1024),
                (512, 4096),
                (512, 16384),
                (2048, 4096),
                (2048, 8192),
                (8192, 8192),
            ),
        )
    ]
    eight += [
        Point(heads, 1, rows, kv, 8) for heads in HEADS[1:4:2] for rows, kv in ((512, 512), (2048, 2048), (512, 4096))
    ]
    every = [*decoding, *drafts, *eight, *whole, *chunks]
    return [point for point in every if point.cache_elements * point.cache_bits / 8 <= _MOST_BYTES]


def measure(bench: Bench, todo: Sequence[Point]) -> Iterator[Row]:
    """Yield the rows of ``paged_attention.csv``."""
    on_gpu = bench.device.type == "cuda"
    if on_gpu and not vllm_ops.load():
        return
    pool = open_pool(bench, _POOL_BYTES)
    for start in range(0, len(todo), _CHUNK):
        chunk = todo[start : start + _CHUNK]
        launches = [_prepared(bench, pool, point) for point in chunk]
        if on_gpu:
            yield from _on_gpu(bench, chunk, launches)
            continue
        for point, (launch, n_sets) in zip(chunk, launches, strict=True):
            yield _row(point, bench.time(launch, n_sets, _SHORTEST_S).time_s, 0.0, 0, "cpu")


def _prepared(bench: Bench, pool: Pool, point: Point) -> tuple[Callable[[int], object], int]:
    n_heads, n_kv_heads = point.heads
    batch = vllm_ops.Batch(point.requests, point.queries, point.kv, graph=point.graph)
    eight_bit = point.cache_bits == 8  # noqa: PLR2004
    attention = vllm_ops.PagedAttention(batch, n_heads, n_kv_heads, point.head_dim, bench.device, eight_bit=eight_bit)
    n_sets = min(_MOST_LAUNCHES, bench.sets(point.cache_elements * point.cache_bits // 8))
    halves = pool.sets((point.cache_elements * point.cache_bits // 16,), n_sets)
    kind = vllm_ops.FP8 if eight_bit else torch.float16
    caches = [half.view(kind).view(attention.cache_shape) for half in halves]
    queries = torch.randn(batch.rows, n_heads, point.head_dim, device=bench.device).to(torch.float16).to(kind)
    out = torch.empty(batch.rows, n_heads, point.head_dim, dtype=torch.float16, device=bench.device)
    if eight_bit:
        out = out.to(torch.bfloat16)  # what the library returns for FP8
    return lambda index: attention.attend(queries, caches[index], out), n_sets


def _on_gpu(
    bench: Bench, chunk: Sequence[Point], launches: Sequence[tuple[Callable[[int], object], int]]
) -> Iterator[Row]:
    graphs: list[Any] = []
    counts, times = [], []
    for point, (launch, n_sets) in zip(chunk, launches, strict=True):
        count = max(min(n_sets, _MOST_LAUNCHES), min(_MOST_LAUNCHES, int(_GRAPH_S / _floor_s(point))), 2)
        graphs.append(captured(launch, n_sets, count, bench.stream))
        counts.append(count)
        times.append(bench.replay_s(graphs[-1]) / count)
    runs = kernels_of([partial(_replay, graph) for graph in graphs], bench.device)
    for point, ran, count, time_s in zip(chunk, runs, counts, times, strict=True):
        kernel_s = sum(kernel.time_s for kernel in ran) / count
        yield _row(point, time_s, kernel_s, round(len(ran) / count), "flash_attn3")
    for graph in graphs:
        graph.reset()
    torch.cuda.empty_cache()


def _replay(graph: Any) -> None:
    graph.replay()


def _floor_s(point: Point) -> float:
    flop = 4 * point.requests * point.heads[0] * point.queries * point.kv * point.head_dim
    moved_bytes = point.cache_elements * point.cache_bits / 8
    return max(moved_bytes / _FASTEST_BYTES_PER_S, flop / 2 / _FASTEST_FLOP_PER_S, _SHORTEST_S)


def _row(point: Point, time_s: float, kernel_s: float, n_kernels: int, library: str) -> Row:
    return {
        "requests": point.requests, "n_heads": point.heads[0], "n_kv_heads": point.heads[1], "head_dim": point.head_dim,
        "queries": point.queries, "kv": point.kv, "cache_bits": point.cache_bits, "time_s": time_s, "kernel_s": kernel_s,
        "n_kernels": n_kernels, "paged_library": library,
    }  # fmt: skip
