"""``papisim validate``: how far off is the simulator itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from papisim import catalog
from papisim.calibration.gpu.tables import read_tables
from papisim.catalog import Shelf
from papisim.cli._command import Command
from papisim.cli._options import format_option, print_json
from papisim.config.system import load_part, load_system
from papisim.errors import CheckFailed, InputError
from papisim.report.console.console import console
from papisim.report.print.validation import Cloud, draw
from papisim.validation.gpu import Compared as OnGpu
from papisim.validation.gpu import Ridge, compare, ridges
from papisim.validation.pim import Compared, Golden, golden_points, meets_limits, published, summary

_MAPPINGS = ("attacc_released", "physical")
_REGIMES = ("memory", "transition", "compute")
_SUFFIXES = (".png", ".pdf", ".svg")


@click.command(name="validate", cls=Command)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder with golden tables (ramulator_hbm3pim_attention*.csv) and measured tables of GPUs.",
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw predicted against measured, by family and regime: .png, .pdf or .svg.",
)
@click.option("--force", is_flag=True, help="Replace the file of --figure.")
@format_option("table", "json")
def command(data: Path | None, figure: Path | None, output: str, *, force: bool) -> None:
    """Compare the device models with published figures, measured tables and, given --data, cycle-level golden counts.

    GPU tables are those shipped and those in --data, known by their columns: of kernels/, vidur, aiconfigurator and
    Frontier. Shown is how far the model is off them, beside a four-parameter roofline fitted to the same rows.

    The released mapping must meet every golden count; the physical one, which does not copy the released generator's
    schedule, is shown beside it. Ends with status 1 when something promised is not met.

    Tables of a power meter that had not settled, as aiconfigurator's of short kernels, show what ran before: their joules are
    compared whole and where it had, each beside how far two measurements of nearly the same kernel are apart.

    \b
    Example:
      papisim validate --figure scatter.png
    """
    _check(figure, force=force)
    figures = published()
    points = []
    if data is not None and any(data.glob("**/ramulator_hbm3pim_attention*.csv")):
        points = [point for mapping in _MAPPINGS for point in golden_points(data, mapping)]
    golden = summary(points) if points else []
    gpus, bends = _compare_gpus(data)
    if output == "json":
        print_json({
            "schema": "papisim/validation/1",
            "published": [compared._asdict() for compared in figures],
            "golden": golden,
            "gpu": [each.row() for each in gpus],
            "ridges": [asdict(ridge) for ridge in bends],
        })  # fmt: skip
    else:
        _print_figures(figures)
        if golden:
            _print_golden(golden)
        if gpus:
            _print_gpus(gpus)
        if bends:
            _print_ridges(bends)
    if figure is not None:
        draw([*_clouds(gpus), *_golden_clouds(points)], figure)
        click.echo(f"papisim: wrote {figure}", err=True)
    missed = [compared.what for compared in figures if compared.within is False]
    missed += [
        f"golden counts, {_power(row)}" for row in golden if row["mapping"] == _MAPPINGS[0] and not meets_limits(row)
    ]
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


def _clouds(rows: list[OnGpu]) -> Iterator[Cloud]:
    """Yield the points of each comparison: of matrix products by regime, of others by GPU."""
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


def _compare_gpus(data: Path | None) -> tuple[list[OnGpu], list[Ridge]]:
    """Compare every shipped GPU part with the tables there are of it."""
    shipped = catalog.data_folder() / "kernels" / "measured"
    folders = [folder for folder in (shipped, data) if folder is not None and folder.is_dir()]
    parts = {name: load_part(name).part for name in catalog.shipped(Shelf.DEVICE)}
    gpus = {name: part for name, part in parts.items() if part.kind == "gpu"}
    tables = read_tables(folders, gpus)
    compared = [row for name, part in gpus.items() for row in compare(name, part, tables)]
    return compared, [ridge for name, part in gpus.items() for ridge in ridges(name, part, tables)]


def _print_ridges(rows: list[Ridge]) -> None:
    table = Table("GPU", "k × n", "measured", "model", title="RLP·TLP at which FC leaves its memory-bound plateau")
    for row in rows:
        table.add_row(row.gpu, f"{row.k} × {row.n}", str(row.measured), str(row.model))
    console().print(table)
    alpha = load_system("papi").for_model("default").placement.alpha
    shown = alpha["default"] if isinstance(alpha, dict) else alpha
    console().print(f"PAPI moves FC from PIM to its GPUs above α = {shown:g}", style="dim")


def _print_gpus(rows: list[OnGpu]) -> None:
    columns = ("GPU", "what", "table", "by", "bound", "kernels", "mean |error|", "95 % within", "bias", "to beat")
    table = Table(*columns, title="Measured on GPUs")
    for row in rows:
        errors = row.errors
        shown = f"{errors.n:,}", f"{errors.mape:.1%}", f"{errors.p95:.1%}", f"{errors.bias:+.1%}"
        baseline = "" if row.baseline is None else f"{row.baseline.mape:.1%}"
        table.add_row(row.gpu, row.family, row.table, row.library, row.regime, *shown, baseline)
    console().print(table)


def _print_figures(figures: list[Compared]) -> None:
    table = Table("figure", "published", "papisim", "error", "met", "source", title="Published figures")
    for figure in figures:
        met = {True: "yes", False: "no", None: "–"}[figure.within]
        error = "" if figure.error is None else f"{figure.error:+.1%}"
        table.add_row(figure.what, figure.published, figure.predicted, error, met, figure.source)
    console().print(table)


def _print_golden(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "mapping", "power", "points", "mean |error|", "max |error|", "worst", title="Cycle-level golden counts"
    )
    for row in rows:
        errors = f"{row['mean_abs_error']:.2%}", f"{row['max_abs_error']:.2%}"
        table.add_row(row["mapping"], _power(row), str(row["points"]), *errors, row["worst"])
    console().print(table)


def _power(row: dict[str, Any]) -> str:
    return "limited" if row["power_limited"] else "not limited"
