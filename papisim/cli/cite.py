"""``papisim cite``: the works that results rest on, as BibTeX."""

from __future__ import annotations

from pathlib import Path

import click

from papisim.cli._command import Command
from papisim.results.citations import bibtex
from papisim.results.folder import read_results


@click.command(name="cite", cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def command(*, folder: Path) -> None:
    """Print BibTeX of papisim and of every work that a number of the results in DIR is from.

    \b
    Example:
      papisim run --hw papi --trace llama65b --batch 64 --out results/first
      papisim cite results/first > first.bib
    """
    click.echo(bibtex(read_results(folder)), nl=False)
