"""``papisim validate --serving``: measured serving rates against simulations of the same closed loops."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from rich.table import Table

from papisim.cli._options import PositiveInt, noting, print_json, stack
from papisim.cli._points import point_progress, say_what_is_kept
from papisim.errors import InputError
from papisim.report.console.console import console
from papisim.report.console.coverage import coverage_table
from papisim.report.print.validation import Cloud
from papisim.validation.coverage import serving_coverage
from papisim.validation.schema import FigureErrors, Refusal, ServingErrors, ServingValidation
from papisim.validation.serving import (
    Inexpressible,
    Point,
    Predicted,
    ServingRow,
    grouped,
    part_of,
    point_of,
    read_serving_rows,
    refusals,
    sampled,
    space_of,
    write_predictions,
)

if TYPE_CHECKING:
    import pandas as pd

F = TypeVar("F", bound=Callable[..., object])

#: results file in --out, and the folder of the sweep beside it
PREDICTIONS, _SWEEP = "serving.csv", "sweep"

_CAPTION = "No part and no profile was fitted to rows of the shipped mapping's suites: every group is left out."

_OPTIONS = (
    click.option(
        "--serving",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="Compare with measured serving rates instead: a CSV with one closed loop per row; docs/physics/engines.md has its columns.",
    ),
    click.option("--rows", type=PositiveInt(), help="serving: most rows of each engine, GPU, model, precision, TP and set."),
    click.option("--without-engines", is_flag=True, help="serving: kernels alone, no profiles of the engines."),
    click.option(
        "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="serving, commands: change a field of all rows, or of --part; may be repeated."
    ),
    click.option(
        "--out", type=click.Path(path_type=Path), help="serving: folder for the rows with their predictions and for the sweep."
    ),
    click.option("--resume", is_flag=True, help="serving: reuse every run that --out knows."),
    click.option("--workers", type=PositiveInt(), help="serving: processes.  [default: one per CPU]"),
)  # fmt: skip


def serving_options(function: F) -> F:
    """Add the options to a command."""
    return stack(*_OPTIONS)(function)


@dataclass(frozen=True)
class Serving:
    """A comparison as the options of ``--serving`` ask for it; see their help."""

    serving: Path
    rows: int | None
    without_engines: bool
    overrides: tuple[str, ...]
    out: Path | None
    resume: bool
    workers: int | None

    def validate(self, output: str, *, force: bool) -> list[Cloud]:
        """Simulate the rows, print their errors, and return the points of a figure."""
        if self.resume and self.out is None:
            raise InputError("--resume needs --out, the folder to continue in")
        rows = sampled(read_serving_rows(self.serving), self.rows)
        predictions = self._predict(rows, force=force)
        found = ServingValidation(
            table=self.serving.name,
            engines=not self.without_engines,
            errors=list(grouped(predictions)),
            coverage=list(serving_coverage(predictions)),
            not_simulated=[Refusal(reason=reason, n=n) for reason, n in refusals(predictions)],
        )
        if output == "json":
            print_json(found.as_json())
        else:
            _print(found)
        if self.out is not None:
            write_predictions(predictions, self.out / PREDICTIONS)
            click.echo(f"papisim: wrote {self.out / PREDICTIONS}", err=True)
        return list(_clouds(predictions))

    def _predict(self, rows: Sequence[ServingRow], *, force: bool) -> list[Predicted]:
        points, reasons = self._points(rows)
        unique = list({repr(point): point for point in points.values()}.values())
        if not unique:
            raise InputError("has no row that can be simulated", file=str(self.serving))
        frame = self._sweep(unique, force=force)
        place = {repr(point): index for index, point in enumerate(unique)}
        return [
            Predicted(row, part_of(row), reason=reasons[row.source_row])
            if row.source_row in reasons
            else _prediction(row, frame, place[repr(points[row.source_row])])
            for row in rows
        ]

    def _points(self, rows: Sequence[ServingRow]) -> tuple[dict[int, Point], dict[int, str]]:
        """Return the point of each row that can be expressed, and the reason of each other one."""
        points, reasons = {}, {}
        for row in rows:
            try:
                points[row.source_row] = point_of(row, with_engine=not self.without_engines)
            except Inexpressible as reason:
                reasons[row.source_row] = str(reason)
        return points, reasons

    def _sweep(self, points: list[Point], *, force: bool) -> pd.DataFrame:
        from papisim.config.yaml import as_assignment, dump  # noqa: PLC0415 - help should not wait for the engine
        from papisim.exploration.computing import Computing  # noqa: PLC0415
        from papisim.exploration.file import read_sweep  # noqa: PLC0415
        from papisim.exploration.run import points as points_of  # noqa: PLC0415
        from papisim.exploration.run import sweep  # noqa: PLC0415

        fixed = {each.text.partition("=")[0]: each.value.data for each in map(as_assignment, self.overrides)}
        file = read_sweep(dump(space_of(points, fixed)), "space", Path.cwd())
        assert len(points_of(file)) == len(points)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / _SWEEP if self.out is None else self.out / _SWEEP
            try:
                with (
                    Computing(self.workers).open(noting(quiet=False)) as computers,
                    point_progress(len(points), self.serving.name, quiet=False) as progress,
                ):
                    return sweep(
                        file, folder, computers, "csv", resume=self.resume, force=force, progress=progress
                    ).frame
            except BaseException:
                say_what_is_kept(folder, self.out, quiet=False)
                raise


def serving_of(options: dict[str, object]) -> Serving | None:
    """Return the comparison that the options of ``--serving`` ask for; None without it.

    Raises:
        UsageError: options that have a meaning with ``--serving`` alone are given without it.
    """
    if options["serving"] is not None:
        return Serving(**options)  # type: ignore[arg-type]
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if given:
        raise click.UsageError(f"{given[0].replace('overrides', 'set')} has a meaning with --serving alone")
    return None


def _prediction(row: ServingRow, frame: pd.DataFrame, place: int) -> Predicted:
    found = frame.iloc[place]
    if found["status"] != "ok":
        return Predicted(row, part_of(row), reason=str(found["reason"]))
    return Predicted(row, part_of(row), float(found["ttft_mean_s"]), float(found["tpot_mean_s"]))


def _clouds(predictions: Sequence[Predicted]) -> Iterator[Cloud]:
    """Yield the points of each figure by engine."""
    simulated = [each for each in predictions if not each.reason]
    for figure, unit in (("tpot", "s"), ("ttft", "s"), ("throughput", "tokens/s")):
        for engine in dict.fromkeys(each.row.backend for each in simulated):
            pairs = [each.pairs()[figure] for each in simulated if each.row.backend == engine]
            yield Cloud(f"{figure}, {unit}", engine, [pair[1] for pair in pairs], [pair[0] for pair in pairs])


def _print(found: ServingValidation) -> None:
    page = console()
    for part in dict.fromkeys(each.part for each in found.errors):
        page.print(_table(part, [each for each in found.errors if each.part == part]))
    if found.coverage:
        page.print(coverage_table(found.coverage))
    if found.not_simulated:
        table = Table("rows", "reason", title="Not simulated")
        for refusal in found.not_simulated:
            table.add_row(str(refusal.n), refusal.reason)
        page.print(table)


def _table(part: str, rows: Sequence[ServingErrors]) -> Table:
    columns = (
        "engine",
        "GPU",
        "model",
        "bits",
        "TP",
        "rows",
        "TPOT",
        "bias",
        "p95",
        "TTFT",
        "bias",
        "p95",
        "tok/s",
        "bias",
    )
    table = Table(
        *columns, title=f"Serving rates, {part} rows: mean |error|, bias and 95th percentile", caption=_CAPTION
    )
    for row in rows:
        model = row.model and row.model.rpartition("/")[2]
        labels = [str(label or "all") for label in (row.engine, row.gpu, model, row.weight_bits, row.tp)]
        figures = [*_figures(row.tpot), *_figures(row.ttft), *_figures(row.throughput)[:2]]
        table.add_row(*labels, str(row.tpot.n), *figures)
    return table


def _figures(errors: FigureErrors) -> list[str]:
    return [f"{errors.mape:.1%}", f"{errors.bias:+.1%}", f"{errors.p95:.1%}"]
