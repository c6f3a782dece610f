"""Time of a matrix product on one GPU: memory, tiles in waves, and the choice of a tile.

For each output tile ``(a, b)`` and split ``s`` that the library has, with ``P`` multiprocessors:

* tiles ``T = ⌈m/a⌉·⌈n/b⌉·s``, waves ``w = T/P``, rounded up in part: ``w' = max(1, w + ρ·(⌈w⌉ − w))``;
* a tile computes ``2·a·b·k'`` operations at its share of the tensor-core rate and loads ``(a + b)·k'`` elements at its share
  of the on-chip rate, ``k'`` being its part of the inputs, and has a fixed start and end;
* DRAM moves the weights once, a share of them again for each further row of tiles, and the activations once;
* compute and memory overlap: ``(compute^p + memory^p)^(1/p)``, between their maximum (p → ∞) and their sum (p = 1);
* partial outputs of a split are written and summed in single precision.

The library takes nearly the fastest: times ``tᵢ`` combine to ``(Σ tᵢ^−q)^(−1/q)``, never below the roofline of the peaks.
Tiles and waves are NVIDIA's ("Matrix Multiplication Background User's Guide"); the two norms are ours, the least that
follows the measured tables on both sides of the ridge and where a library's heuristic misses its fastest tile.
"""

from __future__ import annotations

from functools import cache, reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from papisim.devices.gpu.part import LinearLibrary, Part

Floats = NDArray[np.float64]

#: bytes of an element of a partial sum, which libraries keep in single precision
_PARTIAL_BYTES = 4
#: keeps a ratio of times from dividing by nothing
_TINY = np.finfo(np.float64).tiny


def linear_times(
    part: Part, library: LinearLibrary, m: ArrayLike, k: ArrayLike, n: ArrayLike, *, element_bytes: float = 2.0
) -> Floats:
    """Return the seconds of matrix products, one for each entry of ``m``, ``k`` and ``n``.

    Args:
        part: the GPU.
        library: the library that runs them.
        m: token-rows.
        k: inputs.
        n: outputs.
        element_bytes: bytes of an element.
    """
    rows, inputs, outputs = (np.atleast_1d(np.asarray(size, dtype=np.float64))[:, None] for size in (m, k, n))
    tile_rows, tile_columns, splits = _candidates(tuple(map(tuple, library.tiles)), tuple(library.splits))
    row_tiles = np.ceil(rows / tile_rows)
    tiles = row_tiles * np.ceil(outputs / tile_columns) * splits
    depth = np.ceil(inputs / splits / library.tile_depth) * library.tile_depth
    tensor = _tensor_rate(part, library, outputs, element_bytes)
    on_tile = depth * (
        2 * tile_rows * tile_columns / tensor
        + (tile_rows + tile_columns) * element_bytes / library.on_chip_bytes_per_s
    )
    compute = waves(tiles / part.multiprocessors, library.wave_ratio) * (
        on_tile * part.multiprocessors + library.tile_fixed_s
    )
    weights = inputs * outputs * (1 + library.reread_ratio * (row_tiles - 1))
    moved = element_bytes * (weights + rows * inputs + rows * outputs)
    memory = moved / (part.memory_bandwidth_bytes_per_s * library.bandwidth_ratio)
    summing = library.split_fixed_s + (splits + 1) * rows * outputs * _PARTIAL_BYTES / library.split_bytes_per_s
    body = norm(library.overlap_exponent, compute, memory) + np.where(splits > 1, summing, 0.0)
    chosen = _nearly_fastest(body, library.selection_exponent)
    bound = roofline_times(part, m, k, n, element_bytes=element_bytes)
    return np.asarray(library.launch_s + np.maximum(chosen, bound), dtype=np.float64)


def roofline_times(part: Part, m: ArrayLike, k: ArrayLike, n: ArrayLike, *, element_bytes: float = 2.0) -> Floats:
    """Return the least seconds that the peaks of a GPU allow: ``max(2·m·k·n / peak, bytes / bandwidth)``."""
    rows, inputs, outputs = (np.asarray(size, dtype=np.float64) for size in (m, k, n))
    moved = element_bytes * (inputs * outputs + rows * inputs + rows * outputs)
    flop = 2 * rows * inputs * outputs
    return np.maximum(flop / part.peak_flop_per_s, moved / part.memory_bandwidth_bytes_per_s)


def waves(exact: Any, lost_ratio: float) -> Any:
    """Return waves of tiles: ``max(1, w + ρ·(⌈w⌉ − w))``; multiprocessors without a tile idle in the last one."""
    return np.maximum(1.0, exact + lost_ratio * (np.ceil(exact) - exact))


def norm(exponent: float, *times: Any) -> Any:
    """Return ``(Σ tᵢ^p)^(1/p)``, scaled by the largest so that no power underflows."""
    largest = np.maximum(reduce(np.maximum, times), _TINY)
    return largest * sum((time / largest) ** exponent for time in times) ** (1 / exponent)


@cache
def _candidates(tiles: tuple[tuple[int, ...], ...], splits: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    columns = np.asarray([(*tile, split) for tile in tiles for split in splits], dtype=np.float64).T[:, None, :]
    return columns[0], columns[1], columns[2]


def _tensor_rate(part: Part, library: LinearLibrary, outputs: Floats, element_bytes: float) -> Floats:
    aligned = (outputs * element_bytes) % library.aligned_bytes == 0
    return part.peak_flop_per_s * np.where(aligned, library.tensor_ratio, library.unaligned_tensor_ratio)


def _nearly_fastest(times: Floats, exponent: float) -> Floats:
    fastest = times.min(axis=1, keepdims=True)
    return np.asarray(fastest[:, 0] * ((times / fastest) ** -exponent).mean(axis=1) ** (-1 / exponent))
