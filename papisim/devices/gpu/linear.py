"""Time of a matrix product on one GPU: memory, tiles in waves, and the choice of a tile.

For each output tile ``(a, b)`` and split ``s`` that the library has, with ``P`` multiprocessors:

* tiles ``T = ⌈m/a⌉·⌈n/b⌉·s``, waves ``w = T/P``, rounded up in part: ``w' = max(1, w + ρ·(⌈w⌉ − w))``;
* a tile computes ``2·a·b·k'`` operations at its share of the tensor-core rate and loads ``(a + b)·k'`` elements at its share
  of the on-chip rate, ``k'`` being its part of the inputs, and has a fixed start and end;
* DRAM moves the weights once, a share of them again for each further row of tiles, and the activations once;
  packed weights move as many bytes as they have, scales included, in DRAM and into tiles, and are widened in registers beside
  the tensor cores' work (Frantar et al., MARLIN, PPoPP 2025, who stay within 5 % of that up to 32 rows);
* compute and memory overlap: ``(compute^p + memory^p)^(1/p)``, between their maximum (p → ∞) and their sum (p = 1);
* partial outputs of a split are written and summed in single precision.

A library's choices beyond that are a measured correction (:mod:`papisim.devices.gpu.correction`), where it has one.

The library takes nearly the fastest: times ``tᵢ`` combine to ``(Σ tᵢ^−q)^(−1/q)``, never below the roofline of the peaks.
Tiles and waves are NVIDIA's ("Matrix Multiplication Background User's Guide"); the two norms are ours, the least that
follows the measured tables on both sides of the ridge and where a library's heuristic misses its fastest tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from papisim.arrays import Floats
from papisim.devices.gpu import correction
from papisim.devices.gpu.part import LinearLibrary, Part
from papisim.devices.numbers import Number, as_column, ceil, larger, least, smaller
from papisim.errors import NotModelled
from papisim.ops.kernel import Group, Linear

#: bytes of an element of a partial sum, which libraries keep in single precision
_PARTIAL_BYTES = 4
#: bytes of an output in the tables of fits, and how much scales may add to a weight of eight bits
_MEASURED_BYTES, _SCALES_RATIO = 2.0, 1.05
#: keeps a ratio of times from dividing by nothing
_TINY = float(np.finfo(np.float64).tiny)


class Widths(NamedTuple):
    """Bytes of an element of a matrix product.

    Attributes:
        outputs: bytes of an output.
        inputs: bytes of an input, and so of an operand of the tensor cores.
        weights: bytes of a weight, scales included; a kernel widens weights to the inputs' width in registers.
    """

    outputs: float
    inputs: float
    weights: float

    @classmethod
    def alike(cls, element_bytes: float) -> Widths:
        """Return equal widths of outputs, inputs and weights."""
        return cls(element_bytes, element_bytes, element_bytes)

    @classmethod
    def of(cls, kernel: Linear) -> Widths:
        """Return the widths of a kernel."""
        if kernel.weights is None and kernel.input_bits is None:
            return cls.alike(kernel.element_bytes)
        inputs = kernel.element_bytes if kernel.input_bits is None else kernel.input_bits / 8
        return cls(kernel.element_bytes, inputs, kernel.weight_bytes / (kernel.k * kernel.n * kernel.n_weights))

    def measured_by(self, library: LinearLibrary) -> bool:
        """Return whether a library's fit is to products of these widths; the scales of weights count for little."""
        if self.outputs != _MEASURED_BYTES or self.inputs != library.input_bytes:
            return False
        return library.input_bytes <= self.weights <= library.input_bytes * (_SCALES_RATIO if self.inputs == 1 else 1)

    def moved_bytes(self, weights: Number, inputs: Number, outputs: Number) -> Number:
        """Return the bytes of numbers of weights, inputs and outputs."""
        if self.inputs == self.outputs == self.weights:
            return self.outputs * (weights + (inputs + outputs))
        return self.weights * weights + self.inputs * inputs + self.outputs * outputs


class Tiling(NamedTuple):
    """Times of the tiles of one weight, independent of the token-rows; one entry per tile and split along the last axis.

    Attributes:
        k: inputs.
        n: outputs.
        widths: bytes of an element.
        peak_flop_per_s: of the tensor cores at the inputs' width.
        tile_rows: rows of a tile.
        row_share: tiles in a row of tiles, over the multiprocessors.
        wave_s: seconds of a wave of tiles.
        splits: parts of the inputs.
        counts: coefficients of the measured token-rows in the library's correction, along the last axis; None without one.
    """

    k: Number
    n: Number
    widths: Widths
    peak_flop_per_s: float
    tile_rows: Floats
    row_share: Floats
    wave_s: Floats
    splits: Floats
    counts: Floats | None = None


def tiling(part: Part, library: LinearLibrary, k: Number, n: Number, widths: Widths) -> Tiling:
    """Return the tiling of a ``(k, n)`` weight, or of several in columns of shape ``(kernels, 1)``.

    Raises:
        NotModelled: the part has no rate for inputs of this width.
    """
    peak = peak_flop_per_s(part, widths)
    tiles = tuple(map(tuple, library.tiles))
    if widths.weights < widths.inputs:
        tiles += tuple(sorted({(rows, columns) for rows in part.linear.packed_tile_rows for _, columns in tiles}))
    tile_rows, tile_columns, splits = _candidates(tiles, tuple(library.splits))
    aligned = (n * widths.outputs) % library.aligned_bytes == 0
    tensor = peak * np.where(aligned, library.tensor_ratio, library.unaligned_tensor_ratio)
    depth = np.ceil(k / splits / library.tile_depth) * library.tile_depth
    on_tile = depth * (
        2 * tile_rows * tile_columns / tensor
        + widths.moved_bytes(tile_columns, tile_rows, 0.0) / library.on_chip_bytes_per_s
    )
    return Tiling(
        k,
        n,
        widths,
        peak,
        tile_rows,
        np.ceil(n / tile_columns) * splits / part.multiprocessors,
        on_tile * part.multiprocessors + library.tile_fixed_s,
        splits,
        _counts(part, library, k, n, widths),
    )


def _counts(part: Part, library: LinearLibrary, k: Number, n: Number, widths: Widths) -> Floats | None:
    """Return the coefficients of a correction for a weight; None for other widths and boards, which were not measured."""
    if part.mode == "model" or library.correction is None or not widths.measured_by(library):
        return None
    if part.other_board(library) is not None:
        return None
    return correction.by_rows(library.correction, k, n)


def rows_times(part: Part, library: LinearLibrary, weight: Tiling, m: Number) -> Number:
    """Return the seconds of ``m`` token-rows times a weight: a float of one, shape ``(kernels,)`` of a column of them."""
    return _times(part, library, weight, m, (np.ceil(m / weight.tile_rows), 1))


def grouped_time(part: Part, library: LinearLibrary, weight: Tiling, groups: Sequence[Group]) -> float:
    """Return the seconds of several products of one shape in one launch, each with a weight of its own.

    The tiles of all products share the multiprocessors, and DRAM moves the weight of each once (Gale et al., MegaBlocks, MLSys
    2023, Section 4; vLLM's and SGLang's fused experts). No correction is measured for them.
    """
    rows, counts = (np.asarray(column, dtype=np.float64) for column in zip(*groups, strict=True))
    row_tiles = (counts[:, None] * np.ceil(rows[:, None] / weight.tile_rows)).sum(axis=0)
    uncorrected = weight._replace(counts=None)
    return float(_times(part, library, uncorrected, float(rows @ counts), (row_tiles, float(counts.sum()))))


def _times(part: Part, library: LinearLibrary, weight: Tiling, m: Number, tiled: tuple[Floats, float]) -> Number:
    """Return the seconds of ``m`` rows times weights of one shape, given the rows of tiles and the number of weights."""
    row_tiles, products = tiled
    compute = waves(row_tiles * weight.row_share, library.wave_ratio) * weight.wave_s
    inputs, outputs = weight.k, weight.n
    weights = inputs * outputs * (products + library.reread_ratio * (row_tiles - products))
    moved = weight.widths.moved_bytes(weights, m * inputs, m * outputs)
    memory = moved / (part.memory_bandwidth_bytes_per_s * library.bandwidth_ratio)
    summed = m * outputs * (_PARTIAL_BYTES / library.split_bytes_per_s)
    summing = np.where(weight.splits > 1, library.split_fixed_s + (weight.splits + 1) * summed, 0.0)
    body = norm(library.overlap_exponent, compute, memory) + summing
    chosen = _nearly_fastest(body, library.selection_exponent)
    sizes = (m, inputs, outputs, products)
    bound_s = _roofline(part, *sizes, widths=weight.widths, peak=weight.peak_flop_per_s)
    time_s = library.launch_s + larger(chosen, least(bound_s))
    if weight.counts is None or library.correction is None:
        return time_s
    return larger(time_s * correction.ratio(library.correction, weight.counts, m), least(bound_s))


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
        element_bytes: bytes of an output; inputs and weights are as wide, or as narrow as in the library's fit.
    """
    weight = tiling(part, library, as_column(k), as_column(n), _widths(element_bytes, library.input_bytes))
    return np.asarray(rows_times(part, library, weight, as_column(m)), dtype=np.float64)


def _widths(element_bytes: float, input_bytes: float) -> Widths:
    operand_bytes = input_bytes if input_bytes < _MEASURED_BYTES else element_bytes
    return Widths(element_bytes, operand_bytes, operand_bytes)


def roofline_times(
    part: Part, m: ArrayLike, k: ArrayLike, n: ArrayLike, *, element_bytes: float = 2.0, input_bytes: float = 2.0
) -> Floats:
    """Return the least seconds that the peaks of a GPU allow: ``max(2·m·k·n / peak, bytes / bandwidth)``."""
    rows, inputs, outputs = (np.asarray(size, dtype=np.float64) for size in (m, k, n))
    widths = _widths(element_bytes, input_bytes)
    bound_s = _roofline(part, rows, inputs, outputs, 1, widths=widths, peak=peak_flop_per_s(part, widths))
    return np.asarray(bound_s, dtype=np.float64)


def _roofline(part: Part, m: Number, k: Number, n: Number, products: float, *, widths: Widths, peak: float) -> Number:
    moved = widths.moved_bytes(products * k * n, m * k, m * n)
    return larger(2 * m * k * n / peak, moved / part.memory_bandwidth_bytes_per_s)


def peak_flop_per_s(part: Part, widths: Widths) -> float:
    """Return the rate of the tensor cores at the inputs' width; the part's peak is that of what it is traced in.

    Raises:
        NotModelled: the part has no rate for inputs of this width.
    """
    if widths.inputs == widths.outputs:
        return part.peak_flop_per_s
    if widths.inputs != 1 or part.peak_8bit_flop_per_s is None:
        raise NotModelled(
            f"FC inputs of {8 * widths.inputs:g} bits on '{part.description}', which has no peak_{8 * widths.inputs:g}bit_flop_per_s; try: "
            "--set quantisation.activation_bits=16, which packs weights alone"
        )
    return part.peak_8bit_flop_per_s


def waves(exact: Number, lost_ratio: float) -> Number:
    """Return waves of tiles: ``max(1, w + ρ·(⌈w⌉ − w))``; multiprocessors without a tile idle in the last one."""
    return larger(exact + lost_ratio * (ceil(exact) - exact), 1.0)


def norm(exponent: float, *times: Number) -> Number:
    """Return ``(Σ tᵢ^p)^(1/p)``, scaled by the largest so that no power underflows."""
    if len(times) == 2:  # noqa: PLR2004 - a power less: the larger's own is one
        slower = larger(larger(*times), _TINY)
        return slower * (1 + (smaller(*times) / slower) ** exponent) ** (1 / exponent)
    largest: Number = _TINY
    for time in times:
        largest = larger(largest, time)
    total: Number = 0.0
    for time in times:
        total = total + (time / largest) ** exponent
    return largest * total ** (1 / exponent)


@cache
def _candidates(tiles: tuple[tuple[int, ...], ...], splits: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    columns = np.asarray([(*tile, split) for tile in tiles for split in splits], dtype=np.float64).T
    return columns[0], columns[1], columns[2]


def _nearly_fastest(times: Floats, exponent: float) -> Number:
    fastest = times.min(axis=-1)
    ratios = times / np.expand_dims(fastest, -1)
    combined: Number = fastest * ((ratios**-exponent).sum(axis=-1) / times.shape[-1]) ** (-1 / exponent)
    return combined
