"""Accuracy of the GPU model against measured tables: errors by family and regime, beside a fitted roofline as baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from papisim.arrays import Floats
from papisim.calibration.errors import Errors, errors_of
from papisim.calibration.gpu.tables import Measured
from papisim.config.system import load_part
from papisim.devices.gpu.linear import linear_times
from papisim.devices.gpu.part import AttentionLibrary, LinearLibrary, Part
from papisim.devices.link import Links
from papisim.pricing.table import (
    at_full_clock,
    attention_times,
    by_kernel_class,
    covered_attention,
    covered_linear,
    elementwise_energies,
    elementwise_times,
    fused_times,
    linear_energies,
    linear_times_of,
    prefill_times_of,
    step_prices,
)
from papisim.validation.schema import GpuErrors, RidgePoint

#: peaks within this factor of one another count as a transition between memory and compute
_NEAR = 2.0
#: a meter that shows the mean of the last second has settled when the kernel ran as long
_SETTLED_S = 1.0
#: the baseline rounds rows up to multiples of this, and its search ends at this relative step
_BASELINE_ROWS, _BASELINE_STEP = 64, 0.005
#: how much slower than one token-row counts as having left the memory-bound plateau
_LEFT_RATIO = 1.2


@dataclass(frozen=True)
class Compared:
    """Errors of predictions for the kernels of one table in one regime.

    Attributes:
        gpu: the part.
        family: the quantity: time of matrix products, attention, small kernels or whole iterations, or energy.
        table: folder and name of the file, and its name of the library.
        library: library of the part that predicts the table: the one measured there, or else the one in use.
        regime: what binds the kernels, or ``all``.
        errors: errors of the model.
        baseline: errors to beat. For matrix products, those of a four-parameter roofline fitted to the same rows; for joules of a
            meter, the differences from the same matrix with one more token-row, which are mostly the meter's.
        points: measured and predicted values, shape (2, n).
    """

    gpu: str
    family: str
    table: str
    library: str
    regime: str
    errors: Errors
    baseline: Errors | None = None
    points: Floats = field(default_factory=lambda: np.empty((2, 0)), repr=False, compare=False)

    @property
    def panel(self) -> str:
        """Panel of the figure that the comparison belongs to."""
        if self.family.endswith(" energy") or self.family.startswith("energy of "):
            return "energy"
        known = {"linear": "matrix products", "attention": "attention", "prefill": "attention"}
        known |= {"all_reduce": "all-reduce"}
        return known.get(self.family, "iterations" if self.family.startswith("iteration of ") else "small kernels")

    def row(self) -> GpuErrors:
        """Return the errors without the points."""
        baseline_mape = None if self.baseline is None else self.baseline.mape
        return GpuErrors(
            gpu=self.gpu,
            family=self.family,
            table=self.table,
            library=self.library,
            regime=self.regime,
            baseline_mape=baseline_mape,
            **asdict(self.errors),
        )


def compare(gpu: str, part: Part, tables: Sequence[Measured]) -> Iterator[Compared]:
    """Compare a GPU part with every measured table of that GPU."""
    for table in tables:
        if table.gpu == gpu and table.kind in _COMPARISONS:
            yield from _COMPARISONS[table.kind](gpu, part, table)


def _compared(gpu: str, family: str, table: Measured, library: str, points: Floats) -> Compared:
    """Compare all rows of a table, from :func:`_points`."""
    return Compared(gpu, family, _label(table), library, "all", errors_of(points[1], points[0]), points=points)


def _points(predicted: Floats, measured: pd.Series[float]) -> Floats:
    return np.stack([measured.to_numpy(np.float64), predicted])


def _library(libraries: Mapping[str, LinearLibrary] | Mapping[str, AttentionLibrary], used: str, source: str) -> str:
    """Return the library measured under a table's name of it, or else the one in use."""
    return next((name for name, library in libraries.items() if source in library.measured_as), used)


def _label(table: Measured) -> str:
    path = Path(table.file)
    return f"{path.parent.name}/{path.name} ({table.source})"


def _compare_linear(gpu: str, part: Part, table: Measured) -> Iterator[Compared]:
    name = _library(part.linear.libraries, part.linear.use, table.source)
    library = part.linear.libraries[name]
    rows = covered_linear(library, table.rows)
    if rows.empty:
        return
    predicted, measured = linear_times_of(part, library, rows), rows.time_s.to_numpy(np.float64)
    baseline = _baseline_times(part, rows)
    for regime, inside in _regimes(part, rows).items():
        yield Compared(
            gpu, "linear", _label(table), name, regime, errors_of(predicted[inside], measured[inside]),
            errors_of(baseline[inside], measured[inside]), np.stack([measured, predicted])[:, inside],
        )  # fmt: skip
    if part.fitted_energy is not None:
        yield from _compare_linear_energy(gpu, part, table, name, rows[rows.energy_j.notna()])


def _compare_linear_energy(
    gpu: str, part: Part, table: Measured, name: str, rows: pd.DataFrame
) -> Iterator[Compared]:
    """Compare joules; those of a meter also over rows with a settled meter, since an unsettled one shows earlier kernels."""
    if rows.empty:
        return
    fitted = part.model_copy(update={"energy_model": "fitted"})
    joules = linear_energies(fitted, rows, linear_times_of(part, part.linear.libraries[name], rows))
    every = _compared(gpu, "linear energy", table, name, _points(joules, rows.energy_j))
    if rows.metered_s.isna().all():
        yield every
        full = at_full_clock(rows)
        if not full.all():
            points = every.points[:, full]
            yield replace(every, regime="full clock", errors=errors_of(points[1], points[0]), points=points)
        return
    yield replace(every, baseline=_beside(rows))
    settled = (rows.metered_s >= _SETTLED_S).to_numpy()
    if settled.any():
        measured, predicted = points = every.points[:, settled]
        errors, beside = errors_of(predicted, measured), _beside(rows[settled])
        yield replace(every, regime="settled meter", errors=errors, baseline=beside, points=points)


def _beside(rows: pd.DataFrame) -> Errors | None:
    """Return the errors of taking a product's watts from the same matrix with one more token-row; None without such pairs."""
    watts = rows[["m", "k", "n"]].assign(watts=rows.energy_j / rows.time_s)
    pairs = watts.merge(watts.assign(m=watts.m - 1), on=["m", "k", "n"], suffixes=("", "_beside"))
    return None if pairs.empty else errors_of(pairs.watts_beside.to_numpy(), pairs.watts.to_numpy())


def _regimes(part: Part, rows: pd.DataFrame) -> dict[str, npt.NDArray[np.bool]]:
    """Return a mask of rows per regime; within a factor of two of the balance of both peaks is a transition.

    Where many rows of equal products in a row held the board at its power limit, the others are a regime, too.
    """
    compute = rows.m * rows.k * rows.n / part.peak_flop_per_s
    memory = (rows.k * rows.n + rows.m * rows.k + rows.m * rows.n) / part.memory_bandwidth_bytes_per_s
    ratio = (compute / memory).to_numpy()
    regimes = {
        "all": ratio > 0, "memory": ratio < 1 / _NEAR, "transition": (ratio >= 1 / _NEAR) & (ratio <= _NEAR),
        "compute": ratio > _NEAR,
    }  # fmt: skip
    full = at_full_clock(rows)
    if not full.all():
        regimes["full clock"] = full
    return {name: inside for name, inside in regimes.items() if inside.any()}


def _compare_attention(gpu: str, part: Part, table: Measured) -> Iterator[Compared]:
    name = _library(part.attention.libraries, part.attention.use, table.source)
    library = part.attention.libraries[name]
    if table.kind == "prefill":
        rows, times = table.rows, prefill_times_of
    else:
        rows, times = covered_attention(part, library, table.rows), attention_times
    if not rows.empty:
        yield _compared(gpu, table.kind, table, name, _points(times(part, library, rows), rows.time_s))


def _links(name: str, library: str) -> Links:
    """Return links of a part that use a library of all-reduces, if the part has it."""
    part = load_part(name).part
    if part.collective is not None and library in part.collective.libraries:
        collective = part.collective.model_copy(update={"use": library})
        part = part.model_copy(update={"collective": collective})
    return Links(name, part, 1)


def _compare_all_reduce(gpu: str, part: Part, table: Measured) -> Iterator[Compared]:
    if part.link is None:
        return
    links = _links(part.link, table.source)
    pairs = zip(table.rows.message_bytes, table.rows.ranks, strict=True)
    costs = [links.all_reduce(float(size), int(ranks)) for size, ranks in pairs]
    times = np.asarray([cost.time_s for cost in costs])
    yield _compared(gpu, "all_reduce", table, part.link, _points(times, table.rows.time_s))
    known = table.rows.energy_j.notna().to_numpy()
    if known.any():
        joules = np.asarray([cost.energy.total_j for cost in costs]) + part.static_w * table.rows.ranks * times
        yield _compared(
            gpu, "all_reduce energy", table, part.link, _points(joules[known], table.rows.energy_j[known])
        )


def _compare_elementwise(gpu: str, part: Part, table: Measured) -> Iterator[Compared]:
    rows = by_kernel_class(table.rows)
    for kernel_class, each in rows.groupby("kernel_class"):
        predicted = elementwise_times(part, part.elementwise, each)
        yield _compared(gpu, str(kernel_class), table, "eager", _points(predicted, each.time_s))
        known = each[each.energy_j.notna()]
        if part.energy_model == "fitted" and not known.empty:
            joules = elementwise_energies(part, known, elementwise_times(part, part.elementwise, known))
            yield _compared(gpu, f"{kernel_class} energy", table, "eager", _points(joules, known.energy_j))


def _compare_fused(gpu: str, part: Part, table: Measured) -> Iterator[Compared]:
    known = part.elementwise.libraries.items()
    name = next((name for name, kernels in known if table.source in kernels.measured_as), None)
    if name is None:
        return
    library = part.elementwise.model_copy(update={"use": name})
    for kernel_class, each in table.rows.groupby("kernel_class"):
        yield _compared(gpu, str(kernel_class), table, name, _points(fused_times(part, library, each), each.time_s))


def _compare_steps(gpu: str, part: Part, table: Measured) -> Iterator[Compared]:
    for model, rows in table.rows.groupby("model"):
        for mode in ("model", "corrected", "table") if part.tables is not None else ("model", "corrected"):
            prices = step_prices(part.model_copy(update={"mode": mode}), rows)
            times = np.asarray([price.time_s for price in prices])
            yield _compared(gpu, f"iteration of {model}", table, f"by {mode}", _points(times, rows.time_s))
            if part.energy_model == "fitted" and rows.energy_j.notna().all():
                joules = np.asarray([price.energy_j for price in prices])
                yield _compared(gpu, f"energy of {model}", table, f"by {mode}", _points(joules, rows.energy_j))


_COMPARISONS: dict[str, Callable[[str, Part, Measured], Iterator[Compared]]] = {
    "linear": _compare_linear,
    "attention": _compare_attention,
    "prefill": _compare_attention,
    "all_reduce": _compare_all_reduce,
    "elementwise": _compare_elementwise,
    "fused": _compare_fused,
    "step": _compare_steps,
}


def _baseline_times(part: Part, rows: pd.DataFrame) -> Floats:
    """Return the seconds of the baseline, a roofline: bandwidth saturating with bytes, rows in steps, a fixed cost.

    ``fixed + max((bytes + half) / bandwidth, 2·⌈m⌉·k·n / rate)``. Its four parameters are found on the same rows by coordinate
    descent, which favours the baseline.
    """
    m, k, n = (rows[name].to_numpy(np.float64) for name in ("m", "k", "n"))
    moved, measured = 2 * (k * n + m * k + m * n), rows.time_s.to_numpy(np.float64)
    flop = 2 * np.ceil(m / _BASELINE_ROWS) * _BASELINE_ROWS * k * n

    def times(points: Floats) -> Floats:
        fixed_s, half_bytes, bandwidth, rate = np.exp(points.T)[..., None]
        return np.asarray(fixed_s + np.maximum((moved + half_bytes) / bandwidth, flop / rate))

    def errors(points: Floats) -> Floats:
        return np.asarray(np.abs(times(points) / measured - 1).mean(axis=-1))

    starts = product(
        measured.min() * np.array([0.3, 0.9]), np.quantile(moved, [0.01, 0.1, 0.5]),
        part.memory_bandwidth_bytes_per_s * np.array([0.7, 0.95]), part.peak_flop_per_s * np.array([0.6, 0.9]),
    )  # fmt: skip
    found = np.stack([_descend(errors, np.log(start)) for start in starts])
    return np.asarray(times(found[errors(found).argmin()][None])[0])


def _descend(errors: Callable[[Floats], Floats], start: Floats) -> Floats:
    """Return the point of least error that coordinate descent with halving steps finds.

    Args:
        errors: the errors of points, shape (n, parameters) to (n,).
        start: the first point, shape (parameters,).
    """
    best, least, step = start, errors(start[None])[0], 0.2
    moves = np.kron(np.eye(len(start)), [[-1.0], [1.0]])
    while step > _BASELINE_STEP:
        tries = best + step * moves
        tried = errors(tries)
        found = int(tried.argmin())
        if tried[found] < least:
            best, least = tries[found], tried[found]
        else:
            step /= 2
    return best


def ridges(gpu: str, part: Part, tables: Sequence[Measured]) -> Iterator[RidgePoint]:
    """Yield the ridge of every square matrix that the tables of the library in use together hold from one row on."""
    used = part.linear.used.measured_as
    mine = [t.rows for t in tables if (t.gpu, t.kind) == (gpu, "linear") and t.source in used]
    if not mine:
        return
    every = pd.concat(mine, ignore_index=True)
    for k, rows in every[every.k == every.n].groupby("k"):
        times = rows.groupby("m").time_s.median()
        left = times.index[times > _LEFT_RATIO * times.loc[times.index <= _BASELINE_ROWS].median()]
        if times.index[0] == 1 and len(left):
            size = int(str(k))
            model = ridge_rows(part, size, size)
            yield RidgePoint(gpu=gpu, k=size, n=size, measured=int(left[0]), model=model)


def ridge_rows(part: Part, k: int, n: int) -> int:
    """Return the fewest token-rows at which a matrix product takes a fifth longer than the median of 1 to 64."""
    rows = np.arange(1, 2049)
    times = linear_times(part, part.linear.used, rows, np.full(len(rows), k), np.full(len(rows), n))
    return int(rows[times > _LEFT_RATIO * np.median(times[:_BASELINE_ROWS])][0])
