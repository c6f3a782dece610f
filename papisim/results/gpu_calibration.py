"""Calibrate a GPU part: fit every library of it that measured tables speak of, and write the part anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from papisim import units
from papisim.devices.gpu.part import AttentionLibrary, LinearLibrary, Part
from papisim.errors import InputError
from papisim.results import gpu_fit, gpu_validation
from papisim.results.gpu_tables import Measured
from papisim.results.gpu_validation import Errors, errors_of

Floats = NDArray[np.float64]

#: a table whose file's name says this is for judging a fit, not for making it
_KEPT_ASIDE = "heldout"

#: what errors are reported by, besides all rows: models left out of the fit
_HELD_OUT = "without {}"


@dataclass(frozen=True)
class Calibration:
    """One fitted set of parameters.

    Attributes:
        path: where in the part they stand.
        values: the parameters.
        files: the tables they were fitted to.
        errors: how far off the fit is, by which rows.
    """

    path: tuple[str, ...]
    values: dict[str, Any]
    files: tuple[str, ...]
    errors: dict[str, Errors]

    @property
    def note(self) -> str:
        """What the part's file says of the source."""
        shown = "; ".join(f"{name}: MAPE {e.mape:.1%}, p95 {e.p95:.1%}" for name, e in self.errors.items())
        return f"papisim calibrate gpu on {', '.join(self.files)}; {shown}"


def calibrate(part: Part, gpu: str, tables: Sequence[Measured], *, hold_out: bool) -> Iterator[Calibration]:
    """Yield what was fitted, one library and kind of kernel after the other.

    Args:
        part: the part whose values are the start.
        gpu: what the tables call the GPU.
        tables: measured tables; those of other GPUs are left aside.
        hold_out: whether to fit again without each model of a table, to be judged on it.
    """
    mine = [table for table in tables if table.gpu == gpu]
    for name, linear in part.linear.libraries.items():
        yield from _linear(part, name, linear, _of(mine, "linear", linear.measured_as), hold_out=hold_out)
    for name, attention in part.attention.libraries.items():
        yield from _decode(part, name, attention, _of(mine, "attention", attention.measured_as))
        yield from _prefill(part, name, attention, _of(mine, "prefill", attention.measured_as))
    yield from _elementwise(part, _of(mine, "elementwise", ["torch"]))
    yield from _steps(part, _of(mine, "step", ["torch"]))
    yield from _energy(part, _of(mine, "linear", part.linear.used.measured_as))


def _of(tables: Sequence[Measured], kind: str, sources: Sequence[str]) -> list[Measured]:
    return [table for table in tables if table.kind == kind and table.source in sources]


def _rows(tables: Sequence[Measured]) -> pd.DataFrame:
    return pd.concat([table.rows.assign(source=table.source) for table in tables], ignore_index=True)


def _files(tables: Sequence[Measured]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(Path(table.file).name for table in tables))


def _linear(
    part: Part, name: str, library: LinearLibrary, tables: Sequence[Measured], *, hold_out: bool
) -> Iterator[Calibration]:
    if not tables:
        return
    rows = gpu_validation.covered_linear(library, _rows(tables))
    aligned = (rows.n * 2) % library.aligned_bytes == 0
    groups = list(rows.model.dropna().unique()) if hold_out else []

    def predict(values: Mapping[str, float], of: pd.DataFrame) -> Floats:
        return gpu_validation.linear_times_of(part, library.model_copy(update=dict(values)), of)

    found = gpu_fit.with_held_out(rows[aligned], groups, lambda of: gpu_fit.linear_fit(part, library, of), predict)
    values = found.values
    if not aligned.all():
        fitted = library.model_copy(update=values)
        values = values | gpu_fit.unaligned_fit(part, fitted, rows[~aligned])
    errors = {"all rows": found.seen} | _by_source(rows[aligned], lambda of: predict(values, of))
    errors |= {_HELD_OUT.format(group): each for group, each in found.held_out.items()}
    yield Calibration(("linear", "libraries", name), values, _files(tables), errors)


def _by_source(rows: pd.DataFrame, predict: Callable[[pd.DataFrame], Floats]) -> dict[str, Errors]:
    groups = list(rows.groupby("source"))
    if len(groups) < 2:  # noqa: PLR2004 - one source is all rows
        return {}
    return {str(source): errors_of(predict(each), each.time_s.to_numpy(np.float64)) for source, each in groups}


def _decode(part: Part, name: str, library: AttentionLibrary, tables: Sequence[Measured]) -> Iterator[Calibration]:
    if not tables:
        return
    rows = gpu_validation.covered_attention(part, library, _rows(tables))
    values = gpu_fit.attention_fit(part, library, rows)
    predicted = gpu_validation.attention_times(part, library.model_copy(update=values), rows)
    errors = {"all rows": errors_of(predicted, rows.time_s.to_numpy(np.float64))}
    yield Calibration(("attention", "libraries", name), values, _files(tables), errors)


def _prefill(part: Part, name: str, library: AttentionLibrary, tables: Sequence[Measured]) -> Iterator[Calibration]:
    if not tables:
        return
    rows = _rows(tables)
    rows = rows[rows.kv > 1]
    values = gpu_fit.prefill_fit(part, library, rows)
    fitted = library.model_copy(update={"prefill": library.prefill.model_copy(update=values)})
    predicted = gpu_validation.prefill_times_of(part, fitted, rows)
    errors = {"all rows": errors_of(predicted, rows.time_s.to_numpy(np.float64))}
    yield Calibration(("attention", "libraries", name, "prefill"), values, _files(tables), errors)


def _elementwise(part: Part, tables: Sequence[Measured]) -> Iterator[Calibration]:
    if not tables:
        return
    rows = gpu_validation.by_kernel_class(_rows(tables))
    for kernel_class, of_class in rows.groupby("kernel_class"):
        values = gpu_fit.streaming_fit(part, str(kernel_class), of_class)
        library = gpu_fit.with_streaming(part.elementwise, str(kernel_class), values)
        predicted = gpu_validation.elementwise_times(part, library, of_class)
        errors = {"all rows": errors_of(predicted, of_class.time_s.to_numpy(np.float64))}
        yield Calibration(("elementwise", "eager", str(kernel_class)), values, _files(tables), errors)


def _steps(part: Part, tables: Sequence[Measured]) -> Iterator[Calibration]:
    """Find what kernels wait for one another: what a step takes beyond its kernels as measured one by one."""
    seen = [table for table in tables if _KEPT_ASIDE not in Path(table.file).stem]
    if not seen or part.tables is None:
        return
    measured = part.model_copy(update={"mode": "table", "between_kernels_s": 0.0})
    rows = _rows(seen)
    prices = gpu_validation.step_prices(measured, rows)
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
    rows = gpu_validation.covered_linear(part.linear.used, rows.loc[rows.energy_j.notna()])
    if rows.empty:
        return
    values = gpu_fit.energy_fit(part, rows)
    fitted = part.model_copy(update={"fitted_energy": part.fitted_energy.model_copy(update=values)})

    def errors(of: pd.DataFrame) -> Errors:
        predicted = gpu_validation.linear_energies(fitted, of, of.time_s.to_numpy(np.float64))
        return errors_of(predicted, of.energy_j.to_numpy(np.float64))

    by_source = {str(source): errors(each) for source, each in rows.groupby("source")}
    yield Calibration(("fitted_energy",), values, _files(tables), {"all rows": errors(rows)} | by_source)


def write_part(document: dict[str, Any], calibrations: Sequence[Calibration]) -> str:
    """Return a part's file with fitted values and their sources put in.

    Args:
        document: the part's file as plain data, its schema and sources included.
        calibrations: what was fitted.
    """
    for found in calibrations:
        node = document
        for step in found.path:
            node = node[step]
        node.update({name: _shown(name, value) for name, value in found.values.items()})
        for path in [".".join(found.path)] if found.path else list(found.values):
            document["sources"][path] = {"fitted": found.note}
    return _block(document, 0)


def _shown(name: str, value: float) -> str | float:
    unit = units.unit_of(name)
    return float(f"{value:.4g}") if unit in (None, "ratio") else units.format(value, unit, digits=4)


def _block(node: Mapping[str, Any], depth: int, *, origins: bool = False) -> str:
    """Write nested mappings one field a line; lists, and the entries of ``sources``, in one line."""
    lines = []
    for name, value in node.items():
        key = "  " * depth + str(name)
        if isinstance(value, Mapping) and value and not origins:
            lines.append(f"{key}:\n{_block(value, depth + 1, origins=name == 'sources')}")
        else:
            lines.append(f"{key}: {_inline(value)}\n")
    return "".join(lines)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_quoted(note)}" for name, note in value.items()) + "}"
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _quoted(note: Any) -> str:
    return '"' + str(note).replace("\\", "\\\\").replace('"', '\\"') + '"'


def raw_document(path: Path) -> dict[str, Any]:
    """Read a part's file as plain data, its sources included.

    Raises:
        InputError: the file is no mapping.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise InputError("expected a mapping", file=str(path))
    return document
