"""The ratio of measured to modelled time of a kernel library, interpolated between measured shapes.

A library picks its kernels from hundreds, and not always well; no formula of a few parameters follows that. The logarithm of
the ratio is interpolated by Gaussian-process regression (kriging) over points, which are some or all of the measured products.
Each point contributes a coefficient times a covariance that falls off exponentially in the logarithm of each size,

``ln ratio(m, k, n) = Σⱼ wⱼ · exp(−|ln m/mⱼ|/λₘ − |ln k/kⱼ|/λₖ − |ln n/nⱼ|/λₙ)``.

It is a correction of the physics and no physics itself: far from every measured shape it vanishes, and it follows silicon
in being slower for some smaller matrices than for larger ones.
Kriging: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 2.25; with fewer points than
measured products, which smooths, 8.14 (subset of regressors).
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from papisim import foreign, units
from papisim.arrays import Floats
from papisim.catalog import data_folder
from papisim.config.base import Count, Positive, Spec
from papisim.config.yaml import while_unchanged
from papisim.devices.numbers import Number
from papisim.errors import InputError

COLUMNS = ("m", "k", "n", "weight")
#: ratio of a number of two boards up to which one correction holds for both; sensitivities move numbers by a tenth
SAME_BOARD = 1.1


class Board(Spec):
    """The hardware on which the times of a correction were measured.

    Attributes:
        peak_flop_per_s: dense tensor-core peak.
        memory_bandwidth_bytes_per_s: peak DRAM bandwidth.
        multiprocessors: streaming multiprocessors.
    """

    peak_flop_per_s: Positive
    memory_bandwidth_bytes_per_s: Positive
    multiprocessors: Count

    def differences(self, other: Board) -> list[str]:
        """Return the fields in which another board is not this one, in words; clocks and bins of one board are the same."""
        return [
            f"{_shown(name, theirs)} (measured: {_shown(name, ours)})"
            for name, ours in self
            if not ours / SAME_BOARD <= (theirs := getattr(other, name)) <= ours * SAME_BOARD
        ]


def _shown(name: str, value: float) -> str:
    """Write a number of a board in words: ``multiprocessors 132``, ``memory bandwidth 3.352 TB/s``."""
    unit = units.unit_of(name)
    words = name.removesuffix(f"_{unit}").replace("_", " ")
    return f"{words} {value:g}" if unit is None else f"{words} {units.format(value, unit)}"


class Correction(Spec):
    """Points of a library's correction, and the lengths over which they are correlated.

    Attributes:
        file: CSV of ``m, k, n, weight``, a path as it is or under the data folder.
        board: hardware on which the products were measured; on other hardware the correction does not apply.
        m_length: λ of token-rows, k_length: of inputs, n_length: of outputs, in units of the natural logarithm.
        spread_ratio: standard deviation of the ratio of measured to modelled time, when the weights were found.
        noise_ratio: that of measuring the same again.
        most_points: maximum number of measured products that are points; None makes every product a point.
    """

    file: str
    board: Board
    m_length: Positive
    k_length: Positive
    n_length: Positive
    spread_ratio: Positive
    noise_ratio: Positive
    most_points: Count | None = None


@dataclass(frozen=True)
class _Points:
    """Points: the logarithms of their sizes, and weights by matrix and by token-rows, 0 where there is none."""

    log_m: Floats
    log_k: Floats
    log_n: Floats
    weights: Floats


def by_rows(correction: Correction, k: Number, n: Number) -> Floats:
    """Return the coefficients of the measured token-rows for matrices of these sizes, along the last axis."""
    points = _read(correction.file)
    shapes, back = np.unique(
        np.stack(np.broadcast_arrays(np.atleast_1d(k), np.atleast_1d(n)), axis=-1).reshape(-1, 2), axis=0, return_inverse=True
    )  # fmt: skip
    log_k, log_n = np.log(shapes.astype(np.float64)).T[:, :, None]
    distance = np.abs(log_k - points.log_k) / correction.k_length + np.abs(log_n - points.log_n) / correction.n_length
    found = (np.exp(-distance) @ points.weights)[back.reshape(-1)]
    return np.asarray(found if np.ndim(k) or np.ndim(n) else found[0])


def ratio(correction: Correction, counts: Floats, m: Number) -> Number:
    """Return measured over modelled time of ``m`` token-rows, from :func:`by_rows`; shape ``(kernels,)`` of a column."""
    distance = np.abs(np.log(m) - _read(correction.file).log_m) / correction.m_length
    found: Number = np.exp((counts * np.exp(-distance)).sum(axis=-1))
    return found


def _read(file: str) -> _Points:
    path = Path(file)
    return _read_table(path if path.is_file() else data_folder() / path)


@while_unchanged
def _read_table(path: Path | str) -> _Points:
    text = foreign.read_text(Path(path), "table of corrections")
    try:
        rows = [_numbers(row, path, line) for line, row in enumerate(csv.DictReader(io.StringIO(text)), start=2)]
    except csv.Error as error:
        raise InputError(f"is not CSV: {error}", file=str(path)) from None
    if not rows:
        raise InputError("holds no points, expected some", file=str(path))
    sizes = np.asarray(rows, dtype=np.float64)
    matrices, matrix = np.unique(sizes[:, 1:3], axis=0, return_inverse=True)
    rows_of, row = np.unique(sizes[:, 0], return_inverse=True)
    weights = np.zeros((len(matrices), len(rows_of)))
    weights[matrix.reshape(-1), row.reshape(-1)] = sizes[:, 3]
    return _Points(np.log(rows_of), np.log(matrices[:, 0]), np.log(matrices[:, 1]), weights)


def _numbers(row: dict[str, str], path: Path | str, line: int) -> list[float]:
    try:
        *sizes, weight = (row.get(name) for name in COLUMNS)
        return [*(foreign.number(size, 1, 1e9) for size in sizes), foreign.number(weight, -100, 100)]
    except ValueError:
        raise InputError(
            "expected sizes of at least 1 and a weight", file=str(path), line=line, field=",".join(COLUMNS)
        ) from None
