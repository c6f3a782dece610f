"""``papisim bundle``: results with everything that is needed to make them again, in one archive."""

from __future__ import annotations

from pathlib import Path

import click

from papisim.cli._command import Command
from papisim.cli._options import quiet_option
from papisim.results.bundle import write_bundle
from papisim.results.folder import read_results
from papisim.results.store import check_file


@click.command(name="bundle", cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Archive.  [default: DIR.zip]")
@click.option("--force", is_flag=True, help="Replace FILE.")
@quiet_option
def command(*, folder: Path, out: Path | None, force: bool, quiet: bool) -> None:
    """Put the results in DIR, the files they were made from, the command and the versions into one archive.

    Files that papisim ships are named by their hash. No path of this machine is in the archive. Give the command in the
    folder in which the results were made.

    \b
    Example:
      papisim run --hw papi --trace llama65b --batch 64 --out results/first
      papisim bundle results/first
      papisim rerun results/first.zip
    """
    file = out or folder.with_name(f"{folder.resolve().name}.zip")
    check_file(file, force=force)
    write_bundle(read_results(folder), file)
    if not quiet:
        click.echo(f"papisim: wrote {file}", err=True)
