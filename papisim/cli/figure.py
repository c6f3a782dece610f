"""``papisim figure``: results as a figure for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from papisim.cli._command import Command
from papisim.cli._options import quiet_option
from papisim.errors import InputError
from papisim.results.folder import read_results
from papisim.results.store import check_file

_SUFFIXES = (".pdf", ".svg", ".png")


@click.command(name="figure", cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", metavar="FILE", required=True, type=click.Path(path_type=Path), help="Figure: .pdf, .svg or .png."
)
@click.option(
    "--kind",
    type=click.Choice(["lines", "bars", "energy"]),
    help="Lines, bars, or bars of energy by part.  [default: lines for a sweep, else bars]",
)
@click.option(
    "-y",
    "--figure",
    "figure",
    metavar="COLUMN",
    default="throughput_tokens_per_s",
    show_default=True,
    help="Column that is drawn.",
)
@click.option(
    "-x",
    "--across",
    metavar="COLUMN",
    help="Horizontal axis.  [default: the batch size, else the first number that varies]",
)
@click.option("--ratio", "ratios", is_flag=True, help="Draw ratios to the first machine and policy.")
@click.option("--log", is_flag=True, help="Logarithmic vertical axis.")
@click.option(
    "--width",
    type=click.Choice(["column", "page"]),
    default="column",
    show_default=True,
    help="Width of the figure in two-column proceedings.",
)
@click.option("--force", is_flag=True, help="Replace FILE.")
@quiet_option
def command(*, folder: Path, out: Path, force: bool, quiet: bool, **drawing: Any) -> None:
    """Draw the results in DIR as a figure for a paper: PDF, SVG or PNG, in a serif type, at the width of a column or a page.

    A sweep has a panel per model and per value of every other input, with a line per machine and policy; a comparison
    a bar per machine, with error bars if it was made with --uncertainty.

    \b
    Example:
      papisim compare --hw papi,gpu_only --trace llama7b,llama65b --batch 1,4,16 --out results/grid
      papisim figure results/grid -o speed.pdf
      papisim figure results/grid --kind bars --ratio -y energy_per_token_j --width page -o energy.svg
    """
    if out.suffix not in _SUFFIXES:
        raise InputError(f"found suffix '{out.suffix}', expected {', '.join(_SUFFIXES)}", file=str(out))
    check_file(out, force=force)
    from papisim.report.print.results import plot_of  # noqa: PLC0415 - start-up time

    plot_of(read_results(folder), **drawing).draw(out)
    if not quiet:
        click.echo(f"papisim: wrote {out}", err=True)
