"""``papisim validate --engine``: an engine's logs beside the simulator."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
from rich.table import Table

from papisim import units
from papisim.calibration.engine.log import read_log
from papisim.cli._options import print_json, show_notes, stack
from papisim.errors import as_cell
from papisim.report.console.console import console
from papisim.results.store import check_file, write_file
from papisim.validation.engine import Compared, Comparison
from papisim.validation.schema import (
    AddedByDrafts,
    EngineErrors,
    EngineParts,
    EngineService,
    EngineSteps,
    EngineValidation,
    EngineWatts,
    ServedFigure,
    ServiceSteps,
)
from papisim.validation.served import METRICS, Simulator
from papisim.validation.watts import watts

F = TypeVar("F", bound=Callable[..., object])

_NONE = "–"


_OPTIONS = (
    click.option(
        "--engine",
        "logs",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        help="Compare with the logs of an engine instead, as scripts/measure-engine writes them.",
    ),
    click.option("--profile", metavar="NAME|FILE", help="engine: profile of the engine.  [default: vllm]"),
    click.option("--hw", metavar="NAME|FILE", help="engine: machine.  [default: one GPU of the kind that was measured]"),
    click.option(
        "--trace", metavar="NAME|DIR|FILE", help="engine: kernel trace.  [default: the engine's name before _sync or _async]"
    ),
    click.option("--gpu", metavar="NAME", help="engine: the only GPU of the logs to compare."),
    click.option(
        "--cells", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.csv", help="engine: write every compared time."
    ),
)  # fmt: skip


def engine_options(function: F) -> F:
    """Add the options to a command."""
    return stack(*_OPTIONS)(function)


@dataclass(frozen=True)
class EngineLogs:
    """A comparison as the options of ``--engine`` ask for it; see their help."""

    logs: Path
    gpu: str | None
    cells: Path | None
    simulator: Simulator

    def validate(self, output: str, *, force: bool) -> None:
        """Compare the logs with the simulator and print the errors."""
        if self.cells is not None:
            check_file(self.cells, force=force)
        log = read_log(self.logs)
        comparison = Comparison(log if self.gpu is None else log.of_gpu(self.gpu), self.simulator)
        found = _validation(comparison)
        show_notes(found.notes, quiet=False)
        if output == "json":
            print_json(found.as_json())
        else:
            _print(found)
        if self.cells is not None:
            write_file(self.cells, _as_csv(comparison.rows), force=force)
            click.echo(f"papisim: wrote {self.cells}", err=True)


def logs_of(options: dict[str, object], others: Mapping[str, object]) -> EngineLogs | None:
    """Take the options of ``--engine`` out of those of a command.

    Args:
        options: options of the command by parameter; the engine's are removed.
        others: options that have no meaning with ``--engine``, by flag.

    Returns:
        The comparison that they ask for; None without ``--engine``.

    Raises:
        UsageError: options that have no effect are given.
    """
    own = {name: options.pop(name) for name in ("logs", "gpu", "cells", "hw", "trace", "profile")}
    if own["logs"] is None:
        _refuse({f"--{name}": value for name, value in own.items()}, "has a meaning with --engine alone")
        return None
    overrides = options.pop("overrides")
    _refuse(
        {**others, **{f"--{name.replace('_', '-')}": value for name, value in options.items()}},
        "does not go with --engine",
    )
    return _engine_logs(overrides=overrides, **own)  # type: ignore[arg-type]


def _engine_logs(
    *, logs: Path, gpu: str | None, cells: Path | None, hw: str | None, trace: str | None, profile: str | None,
    overrides: tuple[str, ...],
) -> EngineLogs:  # fmt: skip
    return EngineLogs(logs, gpu, cells, Simulator(hw, trace, profile or "vllm", overrides))


def _refuse(options: Mapping[str, object], why: str) -> None:
    for flag, value in options.items():
        if value:
            raise click.UsageError(f"{flag} {why}")


def _validation(comparison: Comparison) -> EngineValidation:
    simulator = comparison.simulator
    return EngineValidation(
        machine=simulator.hw,
        trace=simulator.trace,
        profile=simulator.engine,
        parts=list(comparison.parts()),
        steps=list(comparison.steps()),
        drafts=list(comparison.drafts()),
        service_steps=list(comparison.service_steps()),
        services=list(comparison.services()),
        watts=list(watts(comparison)),
        notes=list(comparison.notes),
    )


def _as_csv(rows: Iterable[Compared]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*Compared._fields, "error"))
    for row in rows:
        error = row.predicted_s / row.measured_s - 1 if row.measured_s else ""
        writer.writerow([as_cell(value) for value in (*row, error)])
    return text.getvalue()


def _print(found: EngineValidation) -> None:
    page = console()
    tables = {
        "Busy time of kernels by part: mean |error| (bias), %": _parts_table(found.parts),
        "Wall time of steps: mean |error| (bias), %": _steps_table(found.steps),
        "Time added by longer drafts": _drafts_table(found.drafts),
        "Steps of services, each with the requests that it had": _service_steps_table(found.service_steps),
        "Services, simulated with the same arrivals: measured, and error of papisim": _services_table(found.services),
        "Power as the board's meter shows it after steps: mean of the last second": _watts_table(found.watts),
    }
    for title, table in tables.items():
        if table.row_count:
            page.print(title, style="bold")
            page.print(table)
            page.print()
    for row in found.parts:
        if row.cancelling:
            page.print(
                f"! {row.gpu} {row.engine}, {row.block}: the total is right by cancelling errors, "
                f"{row.cancelled_ratio:.1%} of the busy time",
                style="yellow",
            )


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def _shown(errors: EngineErrors | None) -> str:
    return _NONE if errors is None else f"{100 * errors.mape:.1f} ({100 * errors.bias:+.1f})"


def _parts_table(rows: Sequence[EngineParts]) -> Table:
    columns = ("GPU", "engine", "steps", "n", "FC", "attention", "small", "messages", "kernels", "cancelled")
    table = _table(*columns)
    for row in rows:
        parts = (row.fc, row.attention, row.small, row.communication, row.busy)
        cancelled = f"{100 * row.cancelled_ratio:.1f}{' !' if row.cancelling else ''}"
        table.add_row(row.gpu, row.engine, row.block, str(row.n), *map(_shown, parts), cancelled)
    return table


def _steps_table(rows: Sequence[EngineSteps]) -> Table:
    table = _table("GPU", "engine", "steps", "n", "host", "total")
    for row in rows:
        table.add_row(row.gpu, row.engine, row.block, str(row.n), _shown(row.host), _shown(row.total))
    return table


def _drafts_table(rows: Sequence[AddedByDrafts]) -> Table:
    table = _table("GPU", "steps", "drafts", "time", "measured", "papisim", "error")
    for row in rows:
        times = units.format(row.measured_s, "s", 3), units.format(row.predicted_s, "s", 3)
        error = _NONE if row.error is None else f"{row.error:+.1%}"
        table.add_row(row.gpu, row.cell, f"{row.from_drafts} → {row.to_drafts}", row.of, *times, error)
    return table


def _service_steps_table(rows: Sequence[ServiceSteps]) -> Table:
    columns = ("GPU", "engine", "service", "steps", "n", "measured", "papisim", "error", "mean |error|")
    table = _table(*columns)
    for row in rows:
        mape = _NONE if row.mape is None else f"{row.mape:.1%}"
        times = f"{row.measured_s:.3f} s", f"{row.predicted_s:.3f} s"
        table.add_row(row.gpu, row.engine, row.service, row.block, f"{row.n:,}", *times, f"{row.error:+.1%}", mape)
    return table


def _services_table(rows: Sequence[EngineService]) -> Table:
    columns = ("GPU", "engine", "service", "requests", "metric", "mean", "p50", "p99", "per request")
    table = _table(*columns)
    for row in rows:
        for metric in METRICS:
            figures = {each.statistic: each for each in row.figures if each.metric == metric}
            cells = (_figure(figures.get(name)) for name in ("mean", "p50", "p99"))
            each = f"{row.request_mape[metric]:.1%}" if metric in row.request_mape else _NONE
            table.add_row(row.gpu, row.engine, row.service, str(row.requests), metric.upper(), *cells, each)
    return table


def _watts_table(rows: Sequence[EngineWatts]) -> Table:
    table = _table("GPU", "engine", "steps", "readings", "mean", "mean |error|", "bias")
    for row in rows:
        errors = f"{row.mape:.1%}", f"{row.bias:+.1%}"
        table.add_row(row.gpu, row.engine, row.block, str(row.n), f"{row.measured_w:.0f} W", *errors)
    return table


def _figure(figure: ServedFigure | None) -> str:
    return _NONE if figure is None else f"{units.format(figure.measured_s, 's', 3)}, {figure.error:+.1%}"
