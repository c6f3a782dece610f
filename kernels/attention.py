"""Decode attention: TLP query tokens of each request over its KV cache, by torch's ``scaled_dot_product_attention``.

The new tokens' queries see the whole cache, as fused kernels compute the rectangle of scores; ``kv`` is the length of
K, the new tokens included. Grouped queries go in with ``enable_gqa``: for one query token torch's FlashAttention packs
the queries of a group into one tile by itself, for several it does not, and reads K and V for every query head. The
packed variant hands the queries of a group over as further query tokens of one head, which computes the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch.nn.functional import scaled_dot_product_attention

from kernels.harness import Bench, Pool, Timing, open_pool
from kernels.tables import Row

COLUMNS = ("batch", "n_heads", "n_kv_heads", "head_dim", "tlp", "kv", "time_s", "energy_j", "library", "packed_gqa")
_POOL_BYTES = 18 << 30
_FASTEST_BYTES_PER_S, _SHORTEST_S = 5e12, 4e-6  # choose graph lengths, enter no result
_BACKENDS = {0: "sdpa-math", 1: "sdpa-flash", 2: "sdpa-efficient", 3: "sdpa-cudnn"}

BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
TOKENS = (1, 2, 3, 4, 6, 8)
CACHED = (128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)
_UNEVEN_BATCHES = (1, 8, 64)
_ENERGY = frozenset(product((1, 8, 64), (1, 8), (512, 2048)))
COARSE_BATCHES, COARSE_TOKENS, COARSE_CACHED = (1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8), (128, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Heads:
    """Query heads, heads of the cache, and their width."""

    n_heads: int
    n_kv_heads: int
    head_dim: int = 128


@dataclass(frozen=True)
class Point:
    """One attention kernel; ``packed`` hands grouped queries over as query tokens of one head."""

    heads: Heads
    batch: int
    tlp: int
    kv: int
    packed: bool = False

    @property
    def chosen(self) -> bool:
        """Whether it is one of the kernels that more is measured of: 32 query heads, as torch runs them."""
        return self.heads in (Heads(32, 32), Heads(32, 8)) and not self.packed

    @property
    def energy(self) -> bool:
        """Whether its energy is measured, too."""
        return self.chosen and (self.batch, self.tlp, self.kv) in _ENERGY


def points(*, smoke: bool) -> list[Point]:
    """Return every point: multi-head and grouped as torch runs them, packed, further heads on a coarser grid, and uneven KV.

    In a real iteration KV is no multiple of a kernel's tile, and kernels then take longer than KV alone explains.
    """
    if smoke:
        return _SMOKE
    fine = [
        Point(heads, batch, tlp, kv)
        for heads, batch, tlp, kv in product((Heads(32, 32), Heads(32, 8), Heads(64, 8)), BATCHES, TOKENS, CACHED)
    ]
    coarse = list(product(COARSE_BATCHES, COARSE_TOKENS, COARSE_CACHED))
    packed = [Point(heads, *point, packed=True) for heads in (Heads(32, 8), Heads(64, 8)) for point in coarse]
    further = [Point(heads, *point) for heads in (Heads(8, 1), Heads(56, 56)) for point in coarse if point[1] != 2]  # noqa: PLR2004
    uneven = [
        Point(heads, batch, tlp, kv)
        for heads, batch, tlp in product((Heads(32, 32), Heads(32, 8)), COARSE_BATCHES, COARSE_TOKENS)
        for kv in (512 + tlp, 2048 + tlp, *((200, 1000, 3000) if batch in _UNEVEN_BATCHES and tlp != 2 else ()))  # noqa: PLR2004
    ]
    return [*fine, *packed, *further, *uneven]


_SMOKE = [Point(Heads(4, 4, 16), 2, 1, 24), Point(Heads(4, 2, 16), 2, 3, 24), Point(Heads(4, 2, 16), 2, 3, 24, True)]


def repeat_points(*, smoke: bool) -> list[Point]:
    """Return some points of the table: measured on a second board they show the spread."""
    some = set(product((1, 4, 16, 64), (1, 4), (128, 512, 2048, 4096)))
    return [
        point
        for point in points(smoke=smoke)
        if smoke or (point.chosen and (point.batch, point.tlp, point.kv) in some)
    ]


def measure(bench: Bench, todo: Sequence[Point]) -> Iterator[Row]:
    """Yield the rows of ``attention.csv``."""
    pool = open_pool(bench, _POOL_BYTES)
    for point in todo:
        timing, library = time_one(bench, pool, point)
        yield {
            "batch": point.batch, "n_heads": point.heads.n_heads, "n_kv_heads": point.heads.n_kv_heads,
            "head_dim": point.heads.head_dim, "tlp": point.tlp, "kv": point.kv, "time_s": timing.time_s,
            "energy_j": timing.energy_j, "library": library, "packed_gqa": int(point.packed),
        }  # fmt: skip


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, packed: bool = False) -> torch.Tensor:
    """Attend with queries ``(batch, heads, TLP, width)`` to K and V ``(batch, kv_heads, KV, width)``."""
    if not packed:
        return scaled_dot_product_attention(query, key, value, enable_gqa=query.shape[1] != key.shape[1])
    tokens = query.reshape(query.shape[0], key.shape[1], -1, query.shape[3])
    return scaled_dot_product_attention(tokens, key, value).reshape(query.shape)


def backend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> str:
    """Name the kernel library that torch picks for these operands."""
    if query.device.type != "cuda":
        return "cpu"
    choice = torch._fused_sdp_choice(query, key, value, enable_gqa=query.shape[1] != key.shape[1])
    return _BACKENDS.get(int(choice), f"sdpa-{choice}")


def time_one(bench: Bench, pool: Pool, point: Point) -> tuple[Timing, str]:
    """Time one attention kernel; also return the library that ran it."""
    heads = point.heads
    shape = (point.batch, heads.n_kv_heads, point.kv, heads.head_dim)
    kv_bytes = 4 * point.batch * heads.n_kv_heads * point.kv * heads.head_dim
    n_sets = bench.sets(kv_bytes)
    caches = pool.sets((2, *shape), n_sets)
    query = torch.randn(
        point.batch, heads.n_heads, point.tlp, heads.head_dim, dtype=torch.float16, device=bench.device
    )  # fmt: skip
    if point.packed:  # reshaped here, so that no copy is timed
        query = query.reshape(point.batch, heads.n_kv_heads, -1, heads.head_dim)

    def launch(index: int) -> torch.Tensor:
        return attend(query, caches[index][0], caches[index][1])

    floor_s = max(kv_bytes / _FASTEST_BYTES_PER_S, _SHORTEST_S)
    return bench.time(launch, n_sets, floor_s, energy=point.energy), backend(query, caches[0][0], caches[0][1])
