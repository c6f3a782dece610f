"""``papisim report``: results as a page to look at."""

from __future__ import annotations

from pathlib import Path

import click

from papisim.cli._command import Command
from papisim.cli._options import quiet_option
from papisim.report.html.folder import page_of
from papisim.results.folder import read_results
from papisim.results.store import check_file, write_file


@click.command(name="report", cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Page to write.  [default: DIR/report.html]"
)
@click.option("--force", is_flag=True, help="Replace FILE.")
@quiet_option
def command(*, folder: Path, out: Path | None, force: bool, quiet: bool) -> None:
    """Draw the results in DIR, which --out of another command wrote, as one HTML page that needs no network.

    \b
    Example:
      papisim run --hw papi --trace llama65b --batch 64 --tlp 2 --out results/first
      papisim report results/first -o first.html
    """
    results = read_results(folder)
    file = out or folder / "report.html"
    check_file(file, force=force)
    write_file(file, page_of(results).html(), force=force)
    if not quiet:
        click.echo(f"papisim: wrote {file}", err=True)
