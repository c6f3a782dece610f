"""Fit the GPU model's few parameters to measured tables: nonlinear least squares of relative errors."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from papisim.devices.gpu.part import (
    AttentionLibrary,
    ElementwiseLibrary,
    FittedEnergy,
    LinearLibrary,
    Part,
    PrefillKernels,
    Streaming,
)
from papisim.errors import InputError, MissingExtra
from papisim.ops.kernel import KernelClass
from papisim.results.gpu_validation import (
    Errors,
    attention_times,
    elementwise_times,
    errors_of,
    linear_energies,
    linear_times_of,
    prefill_times_of,
)
from papisim.spec.base import Spec

Floats = NDArray[np.float64]
LibraryT = TypeVar("LibraryT", bound=Spec)

#: rows that a fit looks at, drawn once and for all; more change no parameter by more than a few percent
_SAMPLE = 2000
#: relative error beyond which a row counts linearly, so that a library's odd choices do not bend the fit
_ROBUST_RATIO = 0.05
#: how far from its value in the file a parameter may go, as a factor
_REACH = 30.0
#: relative steps of the numerical derivative: coarse, since tiles and waves are steps, then fine
_STEPS = (1e-2, 3e-3)
#: pull of each parameter to its value in the file, which decides those that the data do not
_PRIOR = 0.01


@dataclass(frozen=True)
class Fitted:
    """What a fit found.

    Attributes:
        values: the parameters.
        seen: errors on the rows of the fit, all of them.
        held_out: errors on rows that it has not seen, by what was held out.
    """

    values: dict[str, float]
    seen: Errors
    held_out: dict[str, Errors]


def linear_fit(part: Part, library: LinearLibrary, rows: pd.DataFrame) -> dict[str, float]:
    """Fit a library for matrix products to rows of ``m, k, n, time_s``."""
    names = [
        "launch_s", "bandwidth_ratio", "reread_ratio", "tensor_ratio", "on_chip_bytes_per_s", "tile_fixed_s",
        "wave_ratio", "overlap_exponent", "split_fixed_s", "split_bytes_per_s", "selection_exponent",
    ]  # fmt: skip
    return _fit(library, names, rows, lambda candidate, sample: linear_times_of(part, candidate, sample))


def unaligned_fit(part: Part, library: LinearLibrary, rows: pd.DataFrame) -> dict[str, float]:
    """Fit the tensor rate of kernels without wide loads to rows whose outputs are not aligned."""
    names = ["unaligned_tensor_ratio"]
    return _fit(library, names, rows, lambda candidate, sample: linear_times_of(part, candidate, sample))


def attention_fit(part: Part, library: AttentionLibrary, rows: pd.DataFrame) -> dict[str, float]:
    """Fit a library for decode attention to rows of ``requests, queries, kv, n_heads, n_kv_heads, head_dim, time_s``."""
    names = [
        "launch_s", "repack_s", "tile_fixed_s", "lone_bytes_per_s", "on_chip_bytes_per_s", "bandwidth_ratio",
        "wave_ratio", "overlap_exponent", "split_fixed_s", "split_bytes_per_s",
    ]  # fmt: skip
    return _fit(library, names, rows, lambda candidate, sample: attention_times(part, candidate, sample))


def prefill_fit(part: Part, library: AttentionLibrary, rows: pd.DataFrame) -> dict[str, float]:
    """Fit a library's kernels for prompts to rows of ``requests, kv, n_heads, n_kv_heads, head_dim, time_s``."""
    names = ["launch_s", "tensor_ratio", "bandwidth_ratio", "tile_fixed_s", "wave_ratio", "overlap_exponent"]

    def predict(candidate: PrefillKernels, sample: pd.DataFrame) -> Floats:
        return prefill_times_of(part, library.model_copy(update={"prefill": candidate}), sample)

    return _fit(library.prefill, names, rows, predict)


def streaming_fit(part: Part, kernel_class: str, rows: pd.DataFrame) -> dict[str, float]:
    """Fit launch and rate of a class of small kernels to rows of :func:`gpu_validation.by_kernel_class`."""
    names = ["launch_s", "on_chip_bytes_per_s"]
    start = part.elementwise.eager[KernelClass(kernel_class)]

    def predict(candidate: Streaming, sample: pd.DataFrame) -> Floats:
        return elementwise_times(part, with_streaming(part.elementwise, kernel_class, dict(candidate)), sample)

    return _fit(start, names, rows, predict)


def with_streaming(library: ElementwiseLibrary, kernel_class: str, values: Mapping[str, float]) -> ElementwiseLibrary:
    """Return a library with another launch and rate of one class."""
    name = KernelClass(kernel_class)
    changed = library.eager[name].model_copy(update=dict(values))
    return library.model_copy(update={"eager": library.eager | {name: changed}})


def energy_fit(part: Part, rows: pd.DataFrame) -> dict[str, float]:
    """Fit board energy to rows of ``m, k, n, time_s, energy_j`` at the measured times."""
    names = ["active_w", "dram_j_per_byte", "compute_j_per_flop"]
    start = part.fitted_energy
    if start is None:
        raise InputError("has no fitted_energy to start from", field="fitted_energy")

    def predict(candidate: FittedEnergy, sample: pd.DataFrame) -> Floats:
        fitted = part.model_copy(update={"fitted_energy": candidate, "energy_model": "fitted"})
        return linear_energies(fitted, sample, sample.time_s.to_numpy(np.float64))

    return _fit(start, names, rows, predict, measured="energy_j")


def with_held_out(
    rows: pd.DataFrame,
    groups: Sequence[str],
    fit: Callable[[pd.DataFrame], dict[str, float]],
    predict: Callable[[dict[str, float], pd.DataFrame], Floats],
    measured: str = "time_s",
) -> Fitted:
    """Fit to all rows, and again without each group of column ``model`` to be judged on it.

    Args:
        rows: the measured rows.
        groups: values of ``model``, each left out once.
        fit: returns the parameters for rows.
        predict: returns times or energies of rows for parameters.
        measured: the column that is predicted.
    """
    held_out = {}
    for group in groups:
        without, judged = rows[rows.model != group], rows[rows.model == group]
        held_out[group] = errors_of(predict(fit(without), judged), judged[measured].to_numpy(np.float64))
    values = fit(rows)
    return Fitted(values, errors_of(predict(values, rows), rows[measured].to_numpy(np.float64)), held_out)


def _fit(
    library: LibraryT,
    names: Sequence[str],
    rows: pd.DataFrame,
    predict: Callable[[LibraryT, pd.DataFrame], Floats],
    measured: str = "time_s",
) -> dict[str, float]:
    """Return the values of the named fields with the least robust relative error, starting from the file's."""
    optimise = _scipy()
    sample = rows.sample(_SAMPLE, random_state=0) if len(rows) > _SAMPLE else rows
    truth = sample[measured].to_numpy(np.float64)
    start = np.log([getattr(library, name) for name in names])
    lower, upper = _bounds(library, names, start)

    def values(point: Floats) -> dict[str, float]:
        return {name: float(value) for name, value in zip(names, np.exp(point), strict=True)}

    def residuals(point: Floats) -> Floats:
        ratio = predict(library.model_copy(update=values(point)), sample) / truth
        return np.concatenate([ratio - 1, _PRIOR * (point - start)])

    best = np.clip(start, lower + 1e-9, upper - 1e-9)
    for step in _STEPS:
        best = optimise.least_squares(
            residuals, best, bounds=(lower, upper), loss="soft_l1", f_scale=_ROBUST_RATIO, diff_step=step
        ).x
    return values(best)


def _bounds(library: Spec, names: Sequence[str], start: Floats) -> tuple[Floats, Floats]:
    lower, upper = start - np.log(_REACH), start + np.log(_REACH)
    for index, name in enumerate(names):
        if name.endswith("_ratio"):
            upper[index] = 0.0  # no ratio of ours is above 1
        if name.endswith("_exponent"):
            lower[index] = 0.0  # a norm has an exponent of at least 1
    return np.minimum(lower, start - 1e-6), np.maximum(upper, start + 1e-6)


def _scipy() -> Any:
    try:
        return importlib.import_module("scipy.optimize")
    except ImportError:
        raise MissingExtra("fitting a GPU", "scipy", "calibrate") from None
