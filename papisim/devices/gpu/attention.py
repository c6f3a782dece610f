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

Prompts. Row tiles attend to the key tiles of what is cached already and to those up to the diagonal, in waves; compute
and traffic overlap by the same norm (Dao, FlashAttention-2, 2023, Section 3). Where the library splits them, too, several
tiles share the keys of a row tile, and a second kernel combines.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from papisim.arrays import Floats, Ints
from papisim.devices.gpu.linear import norm, waves
from papisim.devices.gpu.part import AttentionLibrary, Packing, Part
from papisim.devices.numbers import Condition, Number, as_column, ceil, choose, larger, least, smaller
from papisim.ops.kernel import Attention

#: bytes of an element of a partial result, which libraries keep in single precision
_PARTIAL_BYTES = 4
#: products in score and context of a (query, key) pair and element of a head: 2 + 2 operations
_FLOP_PER_PAIR = 4
#: bytes of a cache of eight bits and its scales over those of queries of sixteen, at most
_EIGHT_BIT_RATIO = 0.525
#: kernels from which it pays to look for the splits that can be fastest at all
_WORTH_PRUNING = 16
#: a split is tried where its least time beats another's greatest by this much or less: rounding never drops one
_ROUNDING = 1e-9


class AttentionShapes(NamedTuple):
    """One attention kernel in floats, or kernels side by side in columns of shape ``(kernels, 1)``.

    Attributes:
        requests: requests of the batch.
        queries: query tokens of each request.
        kv: cached tokens of each request, on average.
        longest_kv: the longest cache.
        n_heads: query heads.
        n_kv_heads: heads of the cache.
        head_dim: width of a head; the mean of those of K and V where they differ, which has the same work.
        element_bytes: bytes of an element of queries and results.
        kv_element_bytes: bytes of an element of the cache, scales included, which tiles widen in registers; less where V is a
            part of K, which is read once. None where it is as wide.
        seen_ratio: (query, key) pairs of prompts that are seen, over those before the diagonal.
    """

    requests: Number
    queries: Number
    kv: Number
    longest_kv: Number
    n_heads: Number
    n_kv_heads: Number
    head_dim: Number
    element_bytes: Number
    kv_element_bytes: Number | None = None
    seen_ratio: Number = 1.0

    @classmethod
    def of(cls, kernel: Attention) -> AttentionShapes:
        """Return one kernel as it runs on one rank."""
        return cls(
            kernel.n_requests, kernel.query_tokens / kernel.n_requests, kernel.kv_tokens / kernel.n_requests,
            kernel.longest_kv, kernel.n_heads, kernel.n_kv_heads, (kernel.head_dim + kernel.value_width) / 2,
            kernel.element_bytes, _kv_element_bytes(kernel), kernel.pairs / (kernel.pairs + kernel.unseen_pairs),
        )  # fmt: skip

    @classmethod
    def table(cls, *columns: ArrayLike) -> AttentionShapes:
        """Return kernels from columns in the order of the attributes."""
        return cls(*[as_column(column) for column in np.broadcast_arrays(*columns)])

    @property
    def kv_bytes(self) -> Number:
        """Bytes of the keys and values of the batch."""
        return self.kv * (2 * self.requests * self.n_kv_heads * self.head_dim * self.cached_bytes)

    @property
    def cached_bytes(self) -> Number:
        """Bytes of an element of the cache."""
        return self.element_bytes if self.kv_element_bytes is None else self.kv_element_bytes

    @property
    def query_bytes(self) -> Number:
        """Bytes of the queries, and of the results."""
        return self.requests * self.n_heads * self.queries * self.head_dim * self.element_bytes


def _kv_element_bytes(kernel: Attention) -> float | None:
    """Return the bytes of a token in the cache over its elements of K and V."""
    if kernel.kv is None and not kernel.latent:
        return None
    elements = kernel.n_kv_heads * (kernel.head_dim + kernel.value_width)
    return kernel.bytes_of_tokens(8) / (8 * elements)


def decode_times(part: Part, library: AttentionLibrary, shapes: AttentionShapes) -> Number:
    """Return the seconds of decode attention: a float of one kernel, shape ``(kernels,)`` of several."""
    blocks, longest = ceil(shapes.kv / library.key_tile), ceil(shapes.longest_kv / library.key_tile)
    tiles_s, combining_s = _tiles(part, library, shapes, blocks, longest)
    fastest_s = least(norm(library.overlap_exponent, tiles_s, _memory_s(part, library, shapes)) + combining_s)
    return library.launch_s + larger(fastest_s, least(_compute_s(part, shapes)))


def decode_times_over(part: Part, library: AttentionLibrary, shapes: AttentionShapes, *, growing: bool) -> Floats:
    """Return the seconds of decode attention for kernels that differ in their caches alone, as :func:`decode_times`.

    Args:
        part: the GPU.
        library: the library.
        shapes: ``kv`` and ``longest_kv`` in arrays of shape ``(kernels,)``, best in order; all else in floats.
        growing: whether no cache is shorter than the one before.
    """
    return np.asarray(
        library.launch_s + np.maximum(_whole_over(part, library, shapes, growing=growing), _compute_s(part, shapes))
    )


def _whole_over(part: Part, library: AttentionLibrary, shapes: AttentionShapes, *, growing: bool) -> Floats:
    """Return seconds with the fastest split, the launch aside, before the tensor cores' bound."""
    memory_s = np.asarray(_memory_s(part, library, shapes))
    splits = _may_split(library, shapes) is not False
    if growing and not splits:
        ends = [
            ceil(float(kv[end]) / library.key_tile)
            for kv in map(np.asarray, (shapes.kv, shapes.longest_kv))
            for end in (0, -1)
        ]
        if ends[0] == ends[1] and ends[2] == ends[3]:
            tiles_s, combining_s = _tiles(part, library, shapes, ends[0], ends[2])
            return np.asarray(norm(library.overlap_exponent, tiles_s, memory_s) + combining_s)
    blocks, longest = np.ceil(shapes.kv / library.key_tile), np.ceil(shapes.longest_kv / library.key_tile)
    if not splits:
        tiles_s, combining_s = _tiles(part, library, shapes, blocks, longest)
        return np.asarray(norm(library.overlap_exponent, tiles_s, memory_s) + combining_s)
    # tiles hold whole blocks: their time is the same from one new block to the next
    new = np.flatnonzero((blocks[1:] != blocks[:-1]) | (longest[1:] != longest[:-1])) + 1
    if len(new):
        first, sizes = np.append(0, new), np.diff(new, prepend=0, append=len(blocks))
        tiles = _tiles(part, library, shapes, blocks[first, None], longest[first, None])
        return _fastest_s(library, tiles, memory_s, first, np.repeat(np.arange(len(first)), sizes))
    tiles = _tiles(part, library, shapes, blocks.item(0), longest.item(0))
    return _fastest_s(library, tiles, memory_s, np.zeros(1, np.int64), np.zeros(len(blocks), dtype=np.int64))


def _fastest_s(
    library: AttentionLibrary, tiles: tuple[Number, Number], memory_s: Floats, first: Ints, piece: Ints
) -> Floats:
    """Return the seconds with the fastest split.

    Args:
        library: the library.
        tiles: seconds of the tiles, and of combining their results, in each piece of a stretch of kernels and with each
            split, shape (pieces, splits), or (splits,) of one piece.
        memory_s: seconds of the memory, shape (kernels,).
        first: where each piece begins.
        piece: in which piece each kernel is.
    """
    exponent, (tiles_s, combining_s) = library.overlap_exponent, tiles
    tiles_s = np.atleast_2d(tiles_s)
    combining_s = combining_s + np.zeros_like(tiles_s)
    if tiles_s.shape[1] > 1 and len(memory_s) >= _WORTH_PRUNING:
        # times grow with that of the memory: a split whose least is above another's greatest is never fastest
        bounds = (bound.reduceat(memory_s, first)[:, None] for bound in (np.minimum, np.maximum))
        low, high = (norm(exponent, tiles_s, bound) + combining_s for bound in bounds)
        hopeless = low > high.min(axis=1, keepdims=True) * (1 + _ROUNDING)
        kept = np.argsort(hopeless, axis=1, kind="stable")[:, : int((~hopeless).sum(axis=1).max())]
        tiles_s, combining_s = (
            np.take_along_axis(tiles_s, kept, axis=1),
            np.take_along_axis(combining_s, kept, axis=1),
        )
    return np.asarray(least(norm(exponent, tiles_s[piece], memory_s[:, None]) + combining_s[piece]))


def _tiles(
    part: Part, library: AttentionLibrary, shapes: AttentionShapes, blocks: Number, longest: Number
) -> tuple[Number, Number]:
    """Return the seconds of a batch's tiles on chip and of combining their results, for each split to choose from.

    Caches enter in whole blocks alone.
    """
    grouped = shapes.n_heads > shapes.n_kv_heads
    packed = grouped & _applies(library.packing, shapes)
    group = choose(packed, shapes.n_heads / shapes.n_kv_heads, 1.0)
    may_split = _may_split(library, shapes)
    splits = 1.0 if may_split is False else smaller(_splits(library.max_splits), choose(may_split, blocks, 1.0))
    tiles = shapes.requests * shapes.n_heads / group * ceil(group * shapes.queries / library.query_tile) * splits
    filled = waves(tiles / part.multiprocessors, library.wave_ratio)
    block_bytes = 2 * library.key_tile * shapes.head_dim * shapes.cached_bytes
    query_bytes = 2 * library.query_tile * shapes.head_dim * shapes.element_bytes
    tile_bytes = ceil(blocks / splits) * block_bytes + query_bytes
    longest_bytes = ceil(longest / splits) * block_bytes + query_bytes
    tiles_s = norm(
        library.overlap_exponent,
        longest_bytes / library.lone_bytes_per_s,
        filled * tile_bytes * (part.multiprocessors / _on_chip_bytes_per_s(library, shapes)),
        filled * library.tile_fixed_s,
    )
    combining_s = _combining_s(library, shapes, splits)
    # a group of one head, a single request and a single head of the cache all lie in memory as a tile needs them
    repacked = packed & (shapes.n_kv_heads > 1) & (shapes.requests > 1)
    return tiles_s, combining_s + repacked * library.repack_s


def _on_chip_bytes_per_s(library: AttentionLibrary, shapes: AttentionShapes) -> Number:
    rate, eight_bit = library.on_chip_bytes_per_s, library.on_chip_8bit_bytes_per_s
    if eight_bit is None or shapes.kv_element_bytes is None:
        return rate
    return choose(shapes.kv_element_bytes < _EIGHT_BIT_RATIO * shapes.element_bytes, eight_bit, rate)


def _combining_s(library: AttentionLibrary, shapes: AttentionShapes, splits: Number) -> Number:
    """Return the seconds of the kernel that adds up the results of a split."""
    partial = 2 * splits * (shapes.query_bytes / shapes.element_bytes * _PARTIAL_BYTES)
    return choose(splits > 1, library.split_fixed_s + partial / library.split_bytes_per_s, 0.0)


def _may_split(library: AttentionLibrary, shapes: AttentionShapes) -> Condition:
    grouped = shapes.n_heads > shapes.n_kv_heads
    return _applies(library.splits, shapes) & (grouped | library.splits_ungrouped)


def _memory_s(part: Part, library: AttentionLibrary, shapes: AttentionShapes) -> Number:
    bandwidth = part.memory_bandwidth_bytes_per_s * library.bandwidth_ratio
    return (shapes.kv_bytes + 2 * shapes.query_bytes) / bandwidth


def _compute_s(part: Part, shapes: AttentionShapes) -> Number:
    """Return the least seconds that the tensor cores allow."""
    flop_per_token = _FLOP_PER_PAIR * shapes.requests * shapes.n_heads * shapes.queries * shapes.head_dim
    return shapes.kv * (flop_per_token / part.peak_flop_per_s)


def _applies(packing: Packing, shapes: AttentionShapes) -> Condition:
    match packing:
        case Packing.ALWAYS:
            return True
        case Packing.SINGLE_TOKEN:
            return shapes.queries <= 1
        case Packing.NEVER:
            return False


@cache
def _splits(max_splits: int) -> Floats:
    """Return the splits to choose from: every one up to eight, then four between one power of two and the next."""
    exact = [*range(1, 9), *(2**power * step // 4 for power in range(3, 10) for step in (5, 6, 7, 8))]
    return np.asarray([split for split in exact if split <= max_splits], dtype=np.float64)


def prefill_times(part: Part, library: AttentionLibrary, shapes: AttentionShapes) -> Number:
    """Return the seconds of causal attention over the last ``shapes.queries`` tokens of prompts, as :func:`decode_times` does.

    What comes before them, ``shapes.kv - shapes.queries`` tokens, is in the cache.
    """
    kernels, queries, dim = library.prefill, shapes.queries, shapes.head_dim
    row_tiles = ceil(queries / kernels.query_tile)
    last = ceil(shapes.kv / kernels.key_tile)
    before = (shapes.kv - queries) / kernels.key_tile
    # row tile r attends to the key tiles up to its own end; the last one to all there are
    keys = (row_tiles - 1) * (row_tiles / 2 * kernels.query_tile / kernels.key_tile + before) + last
    tensor = part.peak_flop_per_s * kernels.tensor_ratio / part.multiprocessors
    key_tile_s = _FLOP_PER_PAIR * dim * kernels.query_tile * kernels.key_tile / tensor * shapes.seen_ratio
    splits = smaller(_splits(library.max_splits), last) if kernels.splits == Packing.ALWAYS else 1.0
    tiles = shapes.requests * shapes.n_heads * row_tiles * splits
    filled = waves(tiles / part.multiprocessors, kernels.wave_ratio)
    one_s = keys / row_tiles / splits * key_tile_s + kernels.tile_fixed_s
    compute = larger(filled * one_s, ceil(last / splits) * key_tile_s + kernels.tile_fixed_s)
    moved = 2 * shapes.query_bytes + shapes.kv_bytes
    memory = moved / (part.memory_bandwidth_bytes_per_s * kernels.bandwidth_ratio)
    body_s = norm(kernels.overlap_exponent, compute, memory) + _combining_s(library, shapes, splits)
    return kernels.launch_s + least(body_s)
