"""Time of attention on one GPU: tiles of queries, caches split over multiprocessors, grouped queries packed or not.

Decoding. A tile holds the query rows of one head of one request, or of a whole group of heads where the library packs
them; it streams that head's keys and values. Where it may, the library splits a cache over several tiles and combines
their results with a second kernel. With ``P`` multiprocessors, ``T`` tiles, ``w'`` waves of them (rounded up in part) and
``b`` bytes a tile (whole blocks of keys, the last one masked), the time is the norm ``(Σ xᵢ^p)^(1/p)`` of

* one tile alone: ``b / lone rate``;
* the multiprocessors: ``w'·b·P / on-chip rate``, where unpacked heads of a group each read the same cache again;
* the work of a tile that does not depend on the cache: ``w'·fixed``;
* DRAM: the caches once, queries and results, at the achieved bandwidth,

and a launch. A split is chosen for the least time. Splitting is FlashAttention's ("Flash-Decoding", Dao et al., 2023).

Prompts. Row tiles attend to key tiles up to the diagonal, in waves; compute and traffic overlap by the same norm
(Dao, FlashAttention-2, 2023, Section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from papisim.devices.gpu.linear import norm, waves
from papisim.devices.gpu.part import AttentionLibrary, Packing, Part
from papisim.ops.kernel import Attention

Floats = NDArray[np.float64]

#: bytes of an element of a partial result, which libraries keep in single precision
_PARTIAL_BYTES = 4
#: products in score and context of a (query, key) pair and element of a head: 2 + 2 operations
_FLOP_PER_PAIR = 4


@dataclass(frozen=True)
class AttentionShapes:
    """Attention kernels side by side, one entry each in every array.

    Attributes:
        requests: requests of the batch.
        queries: query tokens of each request.
        kv: cached tokens of each request, on average.
        longest_kv: the longest cache.
        n_heads: query heads.
        n_kv_heads: heads of the cache.
        head_dim: width of a head.
        element_bytes: bytes of an element.
    """

    requests: Floats
    queries: Floats
    kv: Floats
    longest_kv: Floats
    n_heads: Floats
    n_kv_heads: Floats
    head_dim: Floats
    element_bytes: Floats

    @classmethod
    def of(cls, kernel: Attention, n_heads: int, n_kv_heads: int) -> AttentionShapes:
        """Return one kernel as it runs on a rank that holds so many of its heads."""
        mean_queries, mean_kv = kernel.query_tokens / kernel.n_requests, kernel.kv_tokens / kernel.n_requests
        sizes = (
            kernel.n_requests, mean_queries, mean_kv, kernel.longest_kv, n_heads, n_kv_heads, kernel.head_dim,
            kernel.element_bytes,
        )  # fmt: skip
        return cls(*np.array(sizes, dtype=np.float64)[:, None, None])

    @classmethod
    def table(cls, *columns: ArrayLike) -> AttentionShapes:
        """Return kernels from columns in the order of the attributes."""
        arrays = np.broadcast_arrays(*[np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in columns])
        return cls(*[array[:, None] for array in arrays])

    @property
    def kv_bytes(self) -> Floats:
        """Bytes of the keys and values of the batch."""
        return 2 * self.requests * self.n_kv_heads * self.kv * self.head_dim * self.element_bytes

    @property
    def query_bytes(self) -> Floats:
        """Bytes of the queries, and of the results."""
        return self.requests * self.n_heads * self.queries * self.head_dim * self.element_bytes


def decode_times(part: Part, library: AttentionLibrary, shapes: AttentionShapes) -> Floats:
    """Return the seconds of decode attention, one for each kernel of ``shapes``."""
    grouped = shapes.n_heads > shapes.n_kv_heads
    packed = grouped & _applies(library.packing, shapes)
    group = np.where(packed, shapes.n_heads / shapes.n_kv_heads, 1.0)
    row_tiles = np.ceil(group * shapes.queries / library.query_tile)
    blocks = np.ceil(shapes.kv / library.key_tile)
    splits = np.minimum(_splits(library.max_splits), np.where(_may_split(library, shapes, grouped), blocks, 1.0))
    tiles = shapes.requests * shapes.n_heads / group * row_tiles * splits
    body = _stream(part, library, shapes, tiles, splits)
    partial = 2 * splits * shapes.query_bytes / shapes.element_bytes * _PARTIAL_BYTES
    combining = np.where(splits > 1, library.split_fixed_s + partial / library.split_bytes_per_s, 0.0)
    # a group of one head, a single request and a single head of the cache all lie in memory as a tile needs them
    repacked = packed & (shapes.n_kv_heads > 1) & (shapes.requests > 1)
    fastest = (body + combining + repacked * library.repack_s).min(axis=1)
    pairs = shapes.requests * shapes.n_heads * shapes.queries * shapes.kv
    least = _FLOP_PER_PAIR * (pairs * shapes.head_dim)[:, 0] / part.peak_flop_per_s
    return np.asarray(library.launch_s + np.maximum(fastest, least), dtype=np.float64)


def _stream(part: Part, library: AttentionLibrary, shapes: AttentionShapes, tiles: Floats, splits: Floats) -> Floats:
    """Return the seconds of a batch's tiles without launches."""

    def tile_bytes(kv: Floats) -> Floats:
        keys = np.ceil(kv / library.key_tile / splits) * library.key_tile
        return 2 * (keys + library.query_tile) * shapes.head_dim * shapes.element_bytes

    filled = waves(tiles / part.multiprocessors, library.wave_ratio)
    on_chip = filled * tile_bytes(shapes.kv) * part.multiprocessors / library.on_chip_bytes_per_s
    alone = tile_bytes(shapes.longest_kv) / library.lone_bytes_per_s
    bandwidth = part.memory_bandwidth_bytes_per_s * library.bandwidth_ratio
    memory = (shapes.kv_bytes + 2 * shapes.query_bytes) / bandwidth
    return np.asarray(norm(library.overlap_exponent, alone, on_chip, filled * library.tile_fixed_s, memory))


def _applies(packing: Packing, shapes: AttentionShapes) -> Any:
    match packing:
        case Packing.ALWAYS:
            return np.full_like(shapes.queries, True, dtype=bool)
        case Packing.SINGLE_TOKEN:
            return np.asarray(shapes.queries <= 1)
        case Packing.NEVER:
            return np.full_like(shapes.queries, False, dtype=bool)


def _may_split(library: AttentionLibrary, shapes: AttentionShapes, grouped: Any) -> Any:
    return np.logical_and(_applies(library.splits, shapes), grouped | library.splits_ungrouped)


@cache
def _splits(max_splits: int) -> Floats:
    """Return the splits to choose from: every one up to eight, then four between one power of two and the next."""
    exact = [*range(1, 9), *(2**power * step // 4 for power in range(3, 10) for step in (5, 6, 7, 8))]
    return np.asarray([[split for split in exact if split <= max_splits]], dtype=np.float64)


def prefill_times(part: Part, library: AttentionLibrary, shapes: AttentionShapes) -> Floats:
    """Return the seconds of causal attention over whole prompts of ``shapes.kv`` tokens, one for each kernel."""
    kernels, queries, dim = library.prefill, shapes.kv[:, 0], shapes.head_dim[:, 0]
    row_tiles = np.ceil(queries / kernels.query_tile)
    last = np.ceil(queries / kernels.key_tile)
    # row tile r attends to the key tiles up to its own end; the last one to all there are
    keys = (row_tiles - 1) * row_tiles / 2 * kernels.query_tile / kernels.key_tile + last
    tensor = part.peak_flop_per_s * kernels.tensor_ratio / part.multiprocessors
    key_tile_s = _FLOP_PER_PAIR * dim * kernels.query_tile * kernels.key_tile / tensor
    tiles = (shapes.requests * shapes.n_heads)[:, 0] * row_tiles
    filled = waves(tiles / part.multiprocessors, kernels.wave_ratio)
    one_s = keys / row_tiles * key_tile_s + kernels.tile_fixed_s
    compute = np.maximum(filled * one_s, last * key_tile_s + kernels.tile_fixed_s)
    moved = 2 * shapes.query_bytes + shapes.kv_bytes
    memory = moved[:, 0] / (part.memory_bandwidth_bytes_per_s * kernels.bandwidth_ratio)
    return np.asarray(kernels.launch_s + norm(kernels.overlap_exponent, compute, memory), dtype=np.float64)
