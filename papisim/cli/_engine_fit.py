"""``papisim calibrate engine``: an engine profile fitted to an engine's logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.table import Table

from papisim import catalog, units
from papisim.calibration.engine.fit import Explained, HostFit, KernelFit, fit_host, fit_kernels, write_profile
from papisim.calibration.engine.log import EngineLog, read_log
from papisim.catalog import Shelf
from papisim.cli._options import print_json
from papisim.config.yaml import load_yaml
from papisim.errors import InputError
from papisim.pricing.engine_step import OF_DEVICES
from papisim.report.console.console import console
from papisim.results.store import check_file, write_file
from papisim.validation.engine import Comparison
from papisim.validation.schema import EngineCalibration, FittedHost, FittedKernels
from papisim.validation.served import Simulator


@dataclass(frozen=True)
class Output:
    """Where the fit goes.

    Attributes:
        format: ``table`` or ``json``.
        out: file of the fitted profile, if any.
        force: replace that file.
    """

    format: str
    out: Path | None
    force: bool


def calibrate_engine(folder: Path, gpu: str | None, simulator: Simulator, output: Output) -> None:
    """Fit a profile to an engine's logs, print what the fit explains, and write the profile.

    Args:
        folder: the logs.
        gpu: the only GPU of the logs to use; needed where there are several.
        simulator: the simulated side, with the profile that the fit starts from.
        output: where the fit goes.
    """
    if output.out is not None:
        check_file(output.out, force=output.force)
    log = _of_one_gpu(read_log(folder), gpu)
    name = log.engines[0][0]
    model = _one_model(log)
    host = fit_host(log, lambda fields: simulator.experiment(name, model, fields))
    kernels = _fit_kernels(Comparison(log, simulator))
    if output.format == "json":
        print_json(_document(simulator.engine, host, kernels).as_json())
    else:
        _print(simulator.engine, host, kernels)
    if output.out is not None:
        document = load_yaml(catalog.find(Shelf.ENGINE, simulator.engine).path).data
        write_file(output.out, write_profile(document, host, kernels, log), force=output.force)
        click.echo(f"papisim: wrote {output.out}", err=True)


def _of_one_gpu(log: EngineLog, gpu: str | None) -> EngineLog:
    if gpu is not None:
        return log.of_gpu(gpu)
    found = sorted({name for name, _ in log.engines})
    if len(found) > 1:
        raise InputError(
            f"has logs of {', '.join(found)}, whose hosts may differ; --gpu names one", file=str(log.folder)
        )
    return log


def _one_model(log: EngineLog) -> str:
    models = sorted({log.model(engine) for _, engine in log.engines})
    if len(models) > 1:
        raise InputError(
            f"has logs of the models {', '.join(models)}; a profile is fitted to one, in a folder of its own",
            file=str(log.folder),
        )
    return models[0]


def _fit_kernels(comparison: Comparison) -> list[KernelFit]:
    """Return the factor of each part that was profiled in several compositions."""
    found = []
    for part in OF_DEVICES:
        rows = [row for row in comparison.profiled if row.part == part and row.measured_s and row.predicted_s]
        if len(rows) > 1:
            times = np.array([(row.predicted_s, row.measured_s) for row in rows])
            found.append(fit_kernels(part, times[:, 0], times[:, 1]))
    return found


def _document(profile: str, host: HostFit, kernels: list[KernelFit]) -> EngineCalibration:
    return EngineCalibration(
        profile=profile,
        host=FittedHost(before=host.before, after=host.after, **host.explained._asdict()),
        kernels=[
            FittedKernels(part=fit.part.value, factor=fit.factor, helps=fit.helps, **fit.explained._asdict())
            for fit in kernels
        ],
    )


def _print(profile: str, host: HostFit, kernels: list[KernelFit]) -> None:
    page = console()
    terms = Table("term of the host", profile, "fitted", box=None)
    for term, before in host.before.items():
        terms.add_row(term, units.format(before, "s", 3), units.format(host.after[term], "s", 3))
    page.print(terms)
    table = Table("fit", "compositions", "R²", "mean |error| before", "after", "left out", box=None)
    table.add_row("host", *_shown(host.explained))
    for fit in kernels:
        kept = "" if fit.helps else " (kept at 1)"
        table.add_row(f"{fit.part.value} × {fit.factor:.3f}{kept}", *_shown(fit.explained))
    page.print(table)


def _shown(explained: Explained) -> tuple[str, ...]:
    errors = (explained.mape_before, explained.mape_after, explained.mape_left_out)
    return str(explained.n), f"{explained.r2_ratio:.3f}", *(f"{error:.1%}" for error in errors)
