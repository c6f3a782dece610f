"""Calibrate a GPU part: fit every library of it for which there are measured tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from papisim.arrays import Floats
from papisim.calibration.errors import Errors, errors_of
from papisim.calibration.gpu.fit import (
    attention_fit,
    eight_bit_fit,
    energy_fit,
    fused_fit,
    linear_fit,
    models_of,
    prefill_fit,
    streaming_energy_fit,
    streaming_fit,
    unaligned_fit,
    with_fused,
    with_held_out,
    with_streaming,
)
from papisim.calibration.gpu.krige import corrected, krige
from papisim.calibration.gpu.tables import Measured
from papisim.devices.gpu.part import AttentionLibrary, FittedEnergy, LinearLibrary, Part
from papisim.pricing.table import (
    at_full_clock,
    attention_times,
    by_kernel_class,
    covered_attention,
    covered_linear,
    elementwise_energies,
    elementwise_times,
    fused_times,
    in_rows,
    linear_energies,
    linear_times_of,
    prefill_times_of,
    step_prices,
)

#: a table with this in its file's name is for judging a fit, not for making it
_KEPT_ASIDE = "heldout"

#: name of the errors on a model that was left out of the fit
_HELD_OUT = "without {}"
#: largest number of errors that are all written into a part's file
_MOST_SHOWN = 8
#: sources whose joules are from the driver's counter, not from the mean of its readings
_COUNTED = ["cublas"]
#: rows used by a fit without one model; the fit to all uses more
_HELD_OUT_ROWS = 500
#: token-rows up to which energy is fitted: those of decoding
_MOST_ROWS = 1024
_MEAN_HELD_OUT = "mean over models left out"


@dataclass(frozen=True)
class Calibration:
    """One fitted set of parameters.

    Attributes:
        path: path of the parameters in the part.
        values: the parameters.
        files: the tables that they were fitted to.
        errors: errors of the fit, by selection of rows.
        points: points of the library's correction, if it has one.
    """

    path: tuple[str, ...]
    values: Mapping[str, float]
    files: tuple[str, ...]
    errors: dict[str, Errors]
    points: pd.DataFrame | None = None

    def as_json(self) -> dict[str, object]:
        """Return the fit without the points of a correction, which are written to a file."""
        return {name: value for name, value in asdict(self).items() if name != "points"}

    @property
    def note(self) -> str:
        """The note on the source in the part's file."""
        several = _MEAN_HELD_OUT in self.errors and len(self.errors) > _MOST_SHOWN
        named = {
            name: e for name, e in self.errors.items() if not (several and name.startswith(_HELD_OUT.format("")))
        }
        shown = "; ".join(f"{name}: MAPE {e.mape:.1%}, p95 {e.p95:.1%}" for name, e in named.items())
        return f"papisim calibrate gpu on {', '.join(self.files)}; {shown}"


def calibrate(part: Part, gpu: str, tables: Sequence[Measured], *, hold_out: bool) -> Iterator[Calibration]:
    """Fit one library and kind of kernel after the other, and yield each fit.

    Args:
        part: the part whose values the fits start from.
        gpu: name of the GPU in the tables.
        tables: measured tables; those of other GPUs are ignored.
        hold_out: whether to fit again without each model of a table and report the errors on that model.
    """
    mine = [table for table in tables if table.gpu == gpu]
    for name, linear in part.linear.libraries.items():
        yield from _linear(part, name, linear, _of(mine, "linear", linear.measured_as), hold_out=hold_out)
    for name, attention in part.attention.libraries.items():
        yield from _decode(part, name, attention, _of(mine, "attention", attention.measured_as), hold_out=hold_out)
        yield from _prefill(part, name, attention, _of(mine, "prefill", attention.measured_as), hold_out=hold_out)
    for energy in _energy(part, _of(mine, "linear", _COUNTED)):
        yield energy
        part = part.model_copy(update={"fitted_energy": FittedEnergy(**energy.values)})
    yield from _elementwise(part, _of(mine, "elementwise", ["torch"]))
    for name, fused in part.elementwise.libraries.items():
        yield from _fused(part, name, _of(mine, "fused", fused.measured_as), hold_out=hold_out)
    yield from _steps(part, _of(mine, "step", ["torch"]))


def _of(tables: Sequence[Measured], kind: str, sources: Sequence[str]) -> list[Measured]:
    return [table for table in tables if table.kind == kind and table.source in sources]


def _rows(tables: Sequence[Measured]) -> pd.DataFrame:
    return pd.concat([table.rows.assign(source=table.source) for table in tables], ignore_index=True)


def _files(tables: Sequence[Measured]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{(path := Path(table.file)).parent.name}/{path.name}" for table in tables))


def _linear(
    part: Part, name: str, library: LinearLibrary, tables: Sequence[Measured], *, hold_out: bool
) -> Iterator[Calibration]:
    if not tables:
        return
    physics = part.model_copy(update={"mode": "model"})
    rows = _at_full_clock(covered_linear(library, _rows(tables)))
    aligned = (rows.n * 2) % library.aligned_bytes == 0
    seen = rows[aligned]

    def modelled(values: Mapping[str, float], of: pd.DataFrame) -> Floats:
        return linear_times_of(physics, library.model_copy(update=dict(values)), of)

    def predictor(train: pd.DataFrame) -> Callable[[pd.DataFrame], Floats]:
        fitted = linear_fit(physics, library, train, most_rows=_HELD_OUT_ROWS)
        return _corrected(physics, library, train, fitted, modelled)

    values = linear_fit(physics, library, seen)
    errors = {"physics alone": errors_of(modelled(values, seen), seen.time_s.to_numpy(np.float64))}
    predict = _corrected(physics, library, seen, values, modelled)
    points = None
    if library.correction is None:
        errors = {"all rows": errors["physics alone"]}
    else:
        errors["all rows"] = errors_of(predict(seen), seen.time_s.to_numpy(np.float64))
        points = krige(library.correction, seen, modelled(values, seen))
    errors |= _by_source(seen, predict)
    if hold_out:
        found = with_held_out(seen, models_of(seen), predictor)
        errors |= {_HELD_OUT.format(group): each for group, each in found.items()}
        errors |= _mean_over_models(found)
    if not aligned.all():
        fitted = library.model_copy(update=values)
        values = values | unaligned_fit(physics, fitted, rows[~aligned])
    yield Calibration(("linear", "libraries", name), values, _files(tables), errors, points)


def _at_full_clock(rows: pd.DataFrame) -> pd.DataFrame:
    """Drop what the board's power slows, where there are products in place beside those in a row of equal ones."""
    in_row = in_rows(rows) > 0
    return rows if in_row.all() or not in_row.any() else rows[at_full_clock(rows)].reset_index(drop=True)


def _corrected(
    part: Part,
    library: LinearLibrary,
    rows: pd.DataFrame,
    values: Mapping[str, float],
    modelled: Callable[[Mapping[str, float], pd.DataFrame], Floats],
) -> Callable[[pd.DataFrame], Floats]:
    """Return a function that predicts times after a fit to rows: the model, with the correction if the library has one."""
    if library.correction is None:
        return lambda of: modelled(values, of)
    points = krige(library.correction, rows, modelled(values, rows))
    return lambda of: corrected(part, library, points, of, modelled(values, of))


def _mean_over_models(held_out: Mapping[str, Errors]) -> dict[str, Errors]:
    """Return the mean of the errors over models left out, with equal weight per model."""
    if not held_out:
        return {}
    each = list(held_out.values())
    means = [float(np.mean([getattr(errors, name) for errors in each])) for name in ("mape", "p95", "bias")]
    return {_MEAN_HELD_OUT: Errors(sum(errors.n for errors in each), *means)}


def _by_source(rows: pd.DataFrame, predict: Callable[[pd.DataFrame], Floats]) -> dict[str, Errors]:
    groups = list(rows.groupby("source"))
    if len(groups) < 2:  # noqa: PLR2004 - one source is all rows
        return {}
    return {str(source): errors_of(predict(each), each.time_s.to_numpy(np.float64)) for source, each in groups}


def _decode(
    part: Part, name: str, library: AttentionLibrary, tables: Sequence[Measured], *, hold_out: bool
) -> Iterator[Calibration]:
    if not tables:
        return
    every = covered_attention(part, library, _rows(tables))
    eight = _eight_bit(every)
    rows = every[~eight].reset_index(drop=True)

    def predictor(train: pd.DataFrame) -> Callable[[pd.DataFrame], Floats]:
        fitted = library.model_copy(update=attention_fit(part, library, train))
        return lambda of: attention_times(part, fitted, of)

    values = attention_fit(part, library, rows)
    fitted = library.model_copy(update=values)
    errors = {"all rows": _errors(attention_times(part, fitted, rows), rows)}
    if library.on_chip_8bit_bytes_per_s is not None and eight.any():
        narrow = every[eight].reset_index(drop=True)
        values |= eight_bit_fit(part, fitted, narrow)
        errors["eight-bit caches"] = _errors(attention_times(part, library.model_copy(update=values), narrow), narrow)
    yield Calibration(
        ("attention", "libraries", name), values, _files(tables), errors | _without_heads(rows, predictor, hold_out)
    )


def _eight_bit(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows have caches of eight bits."""
    return rows.get("cache_bits", pd.Series(np.nan, rows.index)) == 8  # noqa: PLR2004 - bits


def _errors(predicted: Floats, rows: pd.DataFrame) -> Errors:
    return errors_of(predicted, rows.time_s.to_numpy(np.float64))


def _without_heads(
    rows: pd.DataFrame, predictor: Callable[[pd.DataFrame], Callable[[pd.DataFrame], Floats]], hold_out: bool
) -> dict[str, Errors]:
    """Return the errors on each number of heads that was left out of the fit."""
    if not hold_out:
        return {}
    heads = rows.n_heads.astype(int).astype(str) + "/" + rows.n_kv_heads.astype(int).astype(str)
    found = with_held_out(rows.assign(model=heads), sorted(heads.unique()), predictor)
    return {_HELD_OUT.format(f"{name} heads"): each for name, each in found.items()} | _mean_over_models(found)


def _prefill(
    part: Part, name: str, library: AttentionLibrary, tables: Sequence[Measured], *, hold_out: bool
) -> Iterator[Calibration]:
    if not tables:
        return
    rows = _rows(tables)
    rows = rows[(rows.kv > 1) & ~_eight_bit(rows)].reset_index(drop=True)

    def fitted_to(train: pd.DataFrame) -> AttentionLibrary:
        values = prefill_fit(part, library, train)
        return library.model_copy(update={"prefill": library.prefill.model_copy(update=values)})

    fitted = fitted_to(rows)
    names = set(type(library.prefill).model_fields)
    values = {key: value for key, value in fitted.prefill if key in names and value != getattr(library.prefill, key)}
    errors = {"all rows": _errors(prefill_times_of(part, fitted, rows), rows)}

    def predictor(train: pd.DataFrame) -> Callable[[pd.DataFrame], Floats]:
        without = fitted_to(train)
        return lambda of: prefill_times_of(part, without, of)

    errors |= _without_heads(rows, predictor, hold_out)
    yield Calibration(("attention", "libraries", name, "prefill"), values, _files(tables), errors)


def _fused(part: Part, name: str, tables: Sequence[Measured], *, hold_out: bool) -> Iterator[Calibration]:
    if not tables:
        return
    for kernel_class, rows in _rows(tables).groupby("kernel_class"):

        def predictor(train: pd.DataFrame, of_class: str = str(kernel_class)) -> Callable[[pd.DataFrame], Floats]:
            fitted = with_fused(part.elementwise, name, of_class, fused_fit(part, name, of_class, train))
            return lambda of: fused_times(part, fitted, of)

        values = fused_fit(part, name, str(kernel_class), rows)
        library = with_fused(part.elementwise, name, str(kernel_class), values)
        errors = {"all rows": _errors(fused_times(part, library, rows), rows)}
        if hold_out:
            errors |= _mean_over_models(with_held_out(rows, models_of(rows), predictor))
        yield Calibration(
            ("elementwise", "libraries", name, "classes", str(kernel_class)), values, _files(tables), errors
        )


def _elementwise(part: Part, tables: Sequence[Measured]) -> Iterator[Calibration]:
    if not tables:
        return
    rows = by_kernel_class(_rows(tables))
    for kernel_class, of_class in rows.groupby("kernel_class"):
        values = streaming_fit(part, str(kernel_class), of_class)
        library = with_streaming(part.elementwise, str(kernel_class), values)
        predicted = elementwise_times(part, library, of_class)
        errors = {"all rows": errors_of(predicted, of_class.time_s.to_numpy(np.float64))}
        known = of_class[of_class.energy_j.notna()]
        if part.fitted_energy is not None and not known.empty:
            fitted = part.model_copy(update={"elementwise": library, "energy_model": "fitted"})
            values |= streaming_energy_fit(fitted, str(kernel_class), known)
            library = with_streaming(library, str(kernel_class), values)
            fitted = fitted.model_copy(update={"elementwise": library})
            joules = elementwise_energies(fitted, known, known.time_s)
            errors["joules"] = errors_of(joules, known.energy_j.to_numpy(np.float64))
        yield Calibration(("elementwise", "eager", str(kernel_class)), values, _files(tables), errors)


def _steps(part: Part, tables: Sequence[Measured]) -> Iterator[Calibration]:
    """Fit the gap between kernels: the time of a step beyond its kernels measured one by one, per kernel."""
    seen = [table for table in tables if _KEPT_ASIDE not in Path(table.file).stem]
    if not seen or part.tables is None:
        return
    measured = part.model_copy(update={"mode": "table", "between_kernels_s": 0.0})
    rows = _rows(seen)
    prices = step_prices(measured, rows)
    times = rows.time_s.to_numpy(np.float64)
    alone = np.asarray([price.time_s for price in prices])
    counts = np.asarray([price.n_kernels for price in prices])
    waiting_s = float(np.median((times - alone) / counts))
    errors = {"kernels from tables": errors_of(alone + waiting_s * counts, times)}
    yield Calibration((), {"between_kernels_s": waiting_s}, _files(seen), errors)


def _energy(part: Part, tables: Sequence[Measured]) -> Iterator[Calibration]:
    if part.fitted_energy is None or not tables:
        return
    rows = _rows(tables)
    rows = rows.loc[rows.energy_j.notna() & (rows.m <= _MOST_ROWS)]
    if rows.empty:
        return
    values = energy_fit(part, rows)
    fitted = part.model_copy(update={"fitted_energy": part.fitted_energy.model_copy(update=values)})

    def errors(of: pd.DataFrame) -> Errors:
        predicted = linear_energies(fitted, of, of.time_s.to_numpy(np.float64))
        return errors_of(predicted, of.energy_j.to_numpy(np.float64))

    by_source = {str(source): errors(each) for source, each in rows.groupby("source")}
    yield Calibration(("fitted_energy",), values, _files(tables), {"all rows": errors(rows)} | by_source)
