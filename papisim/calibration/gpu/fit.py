"""Fit the GPU model's few parameters to measured tables: nonlinear least squares of relative errors."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TypeVar

import numpy as np
import pandas as pd

from papisim.arrays import Floats
from papisim.calibration.errors import Errors, errors_of
from papisim.config.base import Spec
from papisim.devices.gpu.part import (
    AttentionLibrary,
    ElementwiseLibrary,
    FittedEnergy,
    FusedStreaming,
    LinearLibrary,
    Part,
    PrefillKernels,
    Streaming,
)
from papisim.errors import InputError, MissingExtra
from papisim.ops.kernel import KernelClass
from papisim.pricing.table import (
    attention_times,
    elementwise_energies,
    elementwise_times,
    fused_times,
    linear_energies,
    linear_times_of,
    prefill_times_of,
)

LibraryT = TypeVar("LibraryT", bound=Spec)

#: size of the sample that a fit uses; more rows change no parameter by more than a few percent
_SAMPLE = 2000
#: relative error beyond which a row counts linearly, so that outliers do not bend the fit
_ROBUST_RATIO = 0.05
#: largest factor between a parameter and its value in the file
_REACH = 30.0
#: relative steps of the numerical derivative: coarse, since tiles and waves are steps, then fine
_STEPS = (1e-2, 3e-3)
#: start of the search for what products in a row overlap
_START_OVERLAP_S = 5e-7
#: start of the search for the energy of a byte in cache
_START_J_PER_BYTE = 1e-10
#: weight of the prior, each parameter's value in the file, which decides parameters that the data do not
_PRIOR = 0.01


def linear_fit(
    part: Part, library: LinearLibrary, rows: pd.DataFrame, *, most_rows: int = _SAMPLE
) -> dict[str, float]:
    """Fit a library for matrix products to rows of ``m, k, n, time_s``, to a sample of ``most_rows`` if there are more."""
    names = [
        "launch_s", "bandwidth_ratio", "reread_ratio", "tensor_ratio", "on_chip_bytes_per_s", "tile_fixed_s",
        "wave_ratio", "overlap_exponent", "split_fixed_s", "split_bytes_per_s", "selection_exponent",
    ]  # fmt: skip
    sample = _sampled(rows, most_rows)
    library, names = _with_overlap(library, names, sample)
    return _fit(library, names, sample, lambda candidate, of: linear_times_of(part, candidate, of))


def _with_overlap(library: LibraryT, names: list[str], rows: pd.DataFrame) -> tuple[LibraryT, list[str]]:
    """Let the overlap of equal kernels in a row be fitted, too, where there are such kernels and others in their places."""
    if "in_row" not in rows or not rows.in_row.notna().any() or not rows.in_row.isna().any():
        return library, names
    start = getattr(library, "row_overlap_s") or _START_OVERLAP_S  # noqa: B009 - every library of kernels has it
    return library.model_copy(update={"row_overlap_s": start}), [*names, "row_overlap_s"]


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
    library, names = _with_overlap(library, names, rows)
    return _fit(library, names, rows, lambda candidate, sample: attention_times(part, candidate, sample))


def eight_bit_fit(part: Part, library: AttentionLibrary, rows: pd.DataFrame) -> dict[str, float]:
    """Fit the rate at which a library reads caches of eight bits."""
    return _fit(
        library,
        ["on_chip_8bit_bytes_per_s"],
        rows,
        lambda candidate, sample: attention_times(part, candidate, sample),
    )


def prefill_fit(part: Part, library: AttentionLibrary, rows: pd.DataFrame) -> dict[str, float]:
    """Fit a library's kernels for prompts to rows of ``requests, kv, n_heads, n_kv_heads, head_dim, time_s``."""
    names = ["launch_s", "tensor_ratio", "bandwidth_ratio", "tile_fixed_s", "wave_ratio", "overlap_exponent"]

    def predict(candidate: PrefillKernels, sample: pd.DataFrame) -> Floats:
        return prefill_times_of(part, library.model_copy(update={"prefill": candidate}), sample)

    kernels, names = _with_overlap(library.prefill, names, rows)
    return _fit(kernels, names, rows, predict)


def streaming_fit(part: Part, kernel_class: str, rows: pd.DataFrame) -> dict[str, float]:
    """Fit launch and rate of a class of small kernels to rows of :func:`papisim.pricing.table.by_kernel_class`."""
    names = ["launch_s", "on_chip_bytes_per_s"]
    start = part.elementwise.eager[KernelClass(kernel_class)]

    def predict(candidate: Streaming, sample: pd.DataFrame) -> Floats:
        return elementwise_times(part, with_streaming(part.elementwise, kernel_class, dict(candidate)), sample)

    return _fit(start, names, rows, predict)


def fused_fit(part: Part, name: str, kernel_class: str, rows: pd.DataFrame) -> dict[str, float]:
    """Fit the figures of a class of an engine's fused kernels to rows of ``kernel_class, moved_bytes, time_s``."""
    start = _fused(part.elementwise, name, kernel_class)

    def predict(candidate: FusedStreaming, sample: pd.DataFrame) -> Floats:
        library = with_fused(part.elementwise, name, kernel_class, dict(candidate))
        return fused_times(part, library, sample)

    names = ["launch_s", "on_chip_bytes_per_s", "cache_bytes", "bandwidth_ratio"]
    return _fit(start, names, rows, predict)


def _fused(library: ElementwiseLibrary, name: str, kernel_class: str) -> FusedStreaming:
    """Return the figures of a class of an engine's kernels; of a class that it does not have, those of any fused kernel."""
    found = library.libraries[name].classes.get(KernelClass(kernel_class))
    if found is not None:
        return found
    return FusedStreaming(
        **dict(library.fused), cache_bytes=library.cache_bytes, bandwidth_ratio=library.bandwidth_ratio
    )


def with_fused(
    library: ElementwiseLibrary, name: str, kernel_class: str, values: Mapping[str, float]
) -> ElementwiseLibrary:
    """Return a library that uses an engine's fused kernels, with other figures of one class."""
    fused, of_class = library.libraries[name], KernelClass(kernel_class)
    changed = _fused(library, name, kernel_class).model_copy(update=dict(values))
    kernels = fused.model_copy(update={"classes": fused.classes | {of_class: changed}})
    return library.model_copy(update={"use": name, "libraries": library.libraries | {name: kernels}})


def streaming_energy_fit(part: Part, kernel_class: str, rows: pd.DataFrame) -> dict[str, float]:
    """Fit the energy of a byte of a class of small kernels to rows of :func:`papisim.pricing.table.by_kernel_class` with joules."""
    start = part.elementwise.eager[KernelClass(kernel_class)]
    if start.on_chip_j_per_byte is None:
        start = start.model_copy(update={"on_chip_j_per_byte": _START_J_PER_BYTE})

    def predict(candidate: Streaming, sample: pd.DataFrame) -> Floats:
        library = with_streaming(part.elementwise, kernel_class, dict(candidate))
        return elementwise_energies(part.model_copy(update={"elementwise": library}), sample, sample.time_s)

    return _fit(start, ["on_chip_j_per_byte"], rows, predict, measured="energy_j")


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


def models_of(rows: pd.DataFrame) -> list[str]:
    """Return the names of all models in rows, each of which names one or several."""
    named = rows.model.dropna().unique()
    return sorted({model for several in named for model in str(several).split()})


def with_held_out(
    rows: pd.DataFrame,
    groups: Sequence[str],
    predictor: Callable[[pd.DataFrame], Callable[[pd.DataFrame], Floats]],
    measured: str = "time_s",
) -> dict[str, Errors]:
    """Fit again without each model, and return the errors on that model.

    Args:
        rows: the measured rows; column ``model`` names one or several models.
        groups: the models, each left out once, with every row that names it.
        predictor: fits to rows and returns a function that predicts times or energies of others.
        measured: the column that is predicted.
    """
    held_out = {}
    names = rows.model.fillna("").astype(str).str.split()
    for group in groups:
        named = np.asarray([group in each for each in names])
        judged = rows[named]
        held_out[group] = errors_of(predictor(rows[~named])(judged), judged[measured].to_numpy(np.float64))
    return held_out


def _fit(
    library: LibraryT,
    names: Sequence[str],
    rows: pd.DataFrame,
    predict: Callable[[LibraryT, pd.DataFrame], Floats],
    measured: str = "time_s",
) -> dict[str, float]:
    """Return the values of the named fields that minimise the robust relative error, starting from the file's."""
    optimise = _scipy()
    sample = _sampled(rows, _SAMPLE)
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


def _sampled(rows: pd.DataFrame, most_rows: int) -> pd.DataFrame:
    return rows.sample(most_rows, random_state=0) if len(rows) > most_rows else rows


def _bounds(library: Spec, names: Sequence[str], start: Floats) -> tuple[Floats, Floats]:
    lower, upper = start - np.log(_REACH), start + np.log(_REACH)
    for index, name in enumerate(names):
        if name.endswith("_ratio"):
            upper[index] = 0.0  # no ratio of ours is above 1
        if name.endswith("_exponent"):
            lower[index] = 0.0  # a norm has an exponent of at least 1
    return np.minimum(lower, start - 1e-6), np.maximum(upper, start + 1e-6)


def _scipy() -> ModuleType:
    try:
        return importlib.import_module("scipy.optimize")
    except ImportError:
        raise MissingExtra("fitting a GPU", "scipy", "calibrate") from None
