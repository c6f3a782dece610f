"""``papisim validate``: how accurate are the device models, and simulations of engines?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.table import Table

from papisim import catalog
from papisim.calibration.gpu.tables import Measured, read_tables
from papisim.catalog import Shelf
from papisim.cli._command import Command
from papisim.cli._command_traces import command_options, commands_of
from papisim.cli._engine_logs import engine_options, logs_of
from papisim.cli._options import format_option, print_json
from papisim.cli._serving import serving_of, serving_options
from papisim.config.system import load_part, load_system
from papisim.devices.gpu import Part
from papisim.errors import CheckFailed, InputError
from papisim.report.console.console import console
from papisim.report.console.coverage import coverage_table
from papisim.report.print.validation import Cloud, draw
from papisim.validation import cent
from papisim.validation.gpu import Compared, compare, ridges
from papisim.validation.pim import Golden, golden_points, meets_limits, published, summary
from papisim.validation.public_data import data_folder, fetch_all
from papisim.validation.schema import Coverage, GoldenErrors, PublishedFigure, RidgePoint, Validation

_MAPPINGS = ("attacc_released", "physical")
_REGIMES = ("memory", "transition", "compute")
_SUFFIXES = (".png", ".pdf", ".svg")
_SHIPPED = catalog.data_folder() / "kernels" / "measured"
_GOLDEN = "**/ramulator_hbm3pim_attention*.csv"


@click.command(name="validate", cls=Command)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder with golden tables (ramulator_hbm3pim_attention*.csv, cent_aim*.csv) and measured tables of GPUs.",
)
@click.option(
    "--fetch", "fetched", is_flag=True, help="Download public measurements into the cache, and compare with them."
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw predicted against measured, by family and regime: .png, .pdf or .svg.",
)
@click.option(
    "--coverage",
    is_flag=True,
    help="Also count how many measurements lie inside 90 % intervals that they had no part in.",
)
@serving_options
@engine_options
@command_options
@click.option("--force", is_flag=True, help="Replace the files of --figure and --cells and the results in --out.")
@format_option("table", "json")
def command(
    data: Path | None,
    figure: Path | None,
    output: str,
    *,
    fetched: bool,
    coverage: bool,
    force: bool,
    **others: object,
) -> None:
    """Compare the device models with published figures, measured tables and, given --data, cycle-level golden counts.

    GPU tables are those shipped, those in --data and those that --fetch downloads, recognised by their columns: of kernels/,
    vidur, aiconfigurator and Frontier. Errors of the model are shown beside those of a four-parameter roofline fitted to the
    same rows.

    The released mapping must meet every golden count; the physical mapping, which does not copy the released generator's
    schedule, is shown beside it. So must CENT's released results: a block's time within 2 %, a token's time and energy within 5 %. The exit
    status is 1 if a promise is not met.

    With --engine, the steps of an engine's logs are priced with the requests that they had: the busy time of kernels by part (FC,
    attention, small kernels) before totals; its services are simulated with the same arrivals and lengths. A total that is closer
    than its parts is marked, since errors cancel in it.

    With --commands, the commands of a trace are issued here and by AttAcc's Ramulator 2 or the AiM simulator, which must be
    installed, and their cycles compared. The exit status is 1 if the ends are 2 % apart.

    A power meter that has not settled, as in aiconfigurator's tables of short kernels, still shows the kernels before: joules are
    compared over all rows and over those with a settled meter, each beside the difference between two nearly equal kernels.

    \b
    Example:
      papisim validate --figure scatter.png
      papisim validate --fetch
      papisim validate --serving end_to_end.csv --rows 8 --out results/serving
      papisim validate --engine logs --profile vllm
      papisim validate --commands bank.trace --part attacc --simulator ./ramulator2
    """
    _check(figure, force=force)
    trace = commands_of(others, {"--data": data, "--fetch": fetched, "--figure": figure, "--force": force})
    if trace is not None:
        trace.validate(output)
        return
    logs = logs_of(others, {"--data": data, "--fetch": fetched, "--figure": figure})
    if logs is not None:
        logs.validate(output, force=force)
        return
    asked = serving_of(others)
    if asked is not None:
        _draw(asked.validate(output, force=force), figure)
        return
    folders = [folder for folder in (data, _fetch() if fetched else None) if folder is not None]
    figures, points = published(), _golden(data)
    golden = [*summary(points), *_cent(data)]
    gpus, bends = _compare_gpus(folders)
    covered = _coverage(folders) if coverage else []
    if output == "json":
        rows = [each.row() for each in gpus]
        found = Validation(published=figures, golden=golden, gpu=rows, ridges=bends, coverage=covered)
        print_json(found.as_json())
    else:
        _print(figures, golden, gpus, bends)
        if covered:
            console().print(coverage_table(covered))
    _draw([*_clouds(gpus), *_golden_clouds(points)], figure)
    _require(figures, golden)


def _draw(clouds: Sequence[Cloud], figure: Path | None) -> None:
    if figure is not None:
        draw(clouds, figure)
        click.echo(f"papisim: wrote {figure}", err=True)


def _fetch() -> Path:
    """Download what is not in the cache yet and check all of it; return the folder."""
    folder = data_folder()
    files = list(fetch_all(folder, lambda name: click.echo(f"papisim: note: fetching {name}", err=True)))
    new = sum(file.downloaded for file in files)
    click.echo(f"papisim: note: {len(files)} files in {folder}, {new} of them new", err=True)
    return folder


def _golden(data: Path | None) -> list[Golden]:
    if data is None or not any(data.glob(_GOLDEN)):
        return []
    return [point for mapping in _MAPPINGS for point in golden_points(data, mapping)]


def _cent(data: Path | None) -> list[GoldenErrors]:
    return [] if data is None else cent.summary(cent.compared(cent.read_results(data)))


def _require(figures: Sequence[PublishedFigure], golden: Sequence[GoldenErrors]) -> None:
    """Fail if a published figure or the released mapping's counts are not met."""
    missed = [figure.what for figure in figures if figure.within is False]
    missed += [
        f"golden counts, {_power(row)}" for row in golden if row.mapping == _MAPPINGS[0] and not meets_limits(row)
    ]
    missed += [row.mapping for row in golden if row.mapping not in _MAPPINGS and not cent.meets_limits(row)]
    if missed:
        raise CheckFailed(f"not met: {'; '.join(missed)}")


def _check(figure: Path | None, *, force: bool) -> None:
    """Refuse a figure that cannot be written before anything is compared."""
    if figure is None:
        return
    if figure.suffix not in _SUFFIXES:
        raise InputError(
            f"found '{figure.suffix}', expected one of {', '.join(_SUFFIXES)}", file=str(figure), field="--figure"
        )
    if figure.exists() and not force:
        raise InputError("exists already; --force overwrites it", file=str(figure))
    if not figure.absolute().parent.is_dir():
        raise InputError("is in no folder that is there", file=str(figure), field="--figure")


def _clouds(rows: Sequence[Compared]) -> Iterator[Cloud]:
    """Yield the points of each comparison: matrix products by regime, other kernels by GPU."""
    split = {(row.gpu, row.family, row.table, row.library) for row in rows if row.regime in _REGIMES}
    for row in rows:
        whole = (row.gpu, row.family, row.table, row.library) not in split
        if row.regime in _REGIMES or (row.regime == "all" and whole):
            label = row.gpu if whole else row.regime
            unit = "J" if row.panel == "energy" else "s"
            yield Cloud(f"{row.panel}, {unit}", label, row.points[0].tolist(), row.points[1].tolist())


def _golden_clouds(points: Sequence[Golden]) -> Iterator[Cloud]:
    for mapping in dict.fromkeys(point.mapping for point in points):
        mine = [point for point in points if point.mapping == mapping]
        cycles = [float(point.golden_cycles) for point in mine], [float(point.cycles) for point in mine]
        yield Cloud("attention on PIM, cycles", mapping, *cycles)


def _compare_gpus(data: Sequence[Path]) -> tuple[list[Compared], list[RidgePoint]]:
    """Compare every shipped GPU part with its shipped tables and those in further folders."""
    gpus, tables = _measured(data)
    compared = [row for name, part in gpus.items() for row in compare(name, part, tables)]
    return compared, [ridge for name, part in gpus.items() for ridge in ridges(name, part, tables)]


def _measured(data: Sequence[Path]) -> tuple[dict[str, Part], list[Measured]]:
    """Return every shipped GPU part, and the shipped tables and those in further folders."""
    folders = [folder for folder in (_SHIPPED, *data) if folder.is_dir()]
    parts = {name: load_part(name).part for name in catalog.shipped(Shelf.DEVICE)}
    gpus = {name: part for name, part in parts.items() if part.kind == "gpu"}
    return gpus, read_tables(folders, gpus)


def _coverage(data: Sequence[Path]) -> list[Coverage]:
    """Return the coverage of kernels, and of the steps of the shipped log of an engine."""
    from papisim.calibration.engine.log import read_log  # noqa: PLC0415 - start-up time
    from papisim.validation.coverage import kernel_coverage, step_coverage  # noqa: PLC0415
    from papisim.validation.engine import Comparison  # noqa: PLC0415
    from papisim.validation.served import Simulator  # noqa: PLC0415

    gpus, tables = _measured(data)
    logged = Comparison(read_log(_SHIPPED / "h200" / "vllm"), Simulator(None, None, "vllm")).profiled
    return [*kernel_coverage(gpus, tables), step_coverage(gpus["h200"], "vllm", logged)]


def _print(
    figures: Sequence[PublishedFigure],
    golden: Sequence[GoldenErrors],
    gpus: Sequence[Compared],
    bends: Sequence[RidgePoint],
) -> None:
    page = console()
    page.print(_figures_table(figures))
    if golden:
        page.print(_golden_table(golden))
    if gpus:
        page.print(_gpu_table(gpus))
    if bends:
        page.print(_ridge_table(bends))
        shown = load_system("papi").placement.calibrated["llama65b"].alpha
        page.print(f"PAPI moves FC of llama65b from PIM to its GPUs above α = {shown:g}", style="dim")


def _ridge_table(rows: Sequence[RidgePoint]) -> Table:
    table = Table("GPU", "k × n", "measured", "model", title="RLP·TLP at which FC leaves its memory-bound plateau")
    for row in rows:
        table.add_row(row.gpu, f"{row.k} × {row.n}", str(row.measured), str(row.model))
    return table


def _gpu_table(rows: Sequence[Compared]) -> Table:
    columns = ("GPU", "family", "table", "library", "bound", "kernels", "mean |error|", "p95", "bias", "baseline")
    table = Table(*columns, title="Measured GPU kernels")
    for row in rows:
        errors = row.errors
        shown = f"{errors.n:,}", f"{errors.mape:.1%}", f"{errors.p95:.1%}", f"{errors.bias:+.1%}"
        baseline = "" if row.baseline is None else f"{row.baseline.mape:.1%}"
        table.add_row(row.gpu, row.family, row.table, row.library, row.regime, *shown, baseline)
    return table


def _figures_table(figures: Sequence[PublishedFigure]) -> Table:
    table = Table("figure", "published", "papisim", "error", "met", "source", title="Published figures")
    for figure in figures:
        met = {True: "yes", False: "no", None: "–"}[figure.within]
        error = "" if figure.error is None else f"{figure.error:+.1%}"
        table.add_row(figure.what, figure.published, figure.predicted, error, met, figure.source)
    return table


def _golden_table(rows: Sequence[GoldenErrors]) -> Table:
    columns = ("mapping", "power", "points", "mean |error|", "max |error|", "worst")
    table = Table(*columns, title="Cycle-level golden counts")
    for row in rows:
        errors = f"{row.mean_abs_error:.2%}", f"{row.max_abs_error:.2%}"
        table.add_row(row.mapping, _power(row), str(row.points), *errors, row.worst)
    return table


def _power(row: GoldenErrors) -> str:
    return "limited" if row.power_limited else "not limited"
