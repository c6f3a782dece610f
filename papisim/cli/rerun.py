"""``papisim rerun``: the command that made results, given again, and whether its results are equal."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from papisim import __version__
from papisim.cli._command import OF_OUTPUT, Command
from papisim.cli._options import quiet_option
from papisim.errors import CheckFailed, InputError, PapisimError
from papisim.results.bundle import INPUTS, command_of, unpack
from papisim.results.command import Command as Repeated
from papisim.results.difference import changed_inputs, differences
from papisim.results.folder import Results, read_results

#: differences that are printed
_MOST_SHOWN = 20


@click.command(name="rerun", cls=Command)
@click.argument("source", metavar="BUNDLE|DIR", type=click.Path(path_type=Path))
@click.option("--with-code", is_flag=True, help="Run Python files that the bundle brings along.")
@quiet_option
def command(*, source: Path, with_code: bool, quiet: bool) -> None:
    """Make the results in a bundle or a folder again, and compare every figure with them.

    The command of a folder is given here, where its files are sought. Status is 0 if all figures are the same to the last
    digit, and 1 if one is not; input files that have changed since are named.

    \b
    Example:
      papisim rerun results/first.zip
      papisim rerun results/first
    """
    with tempfile.TemporaryDirectory(prefix="papisim-rerun-") as temporary:
        folder = Path(temporary)
        if source.is_dir():
            before, home = read_results(source), Path.cwd()
        else:
            before, home = unpack(source, folder / "bundle"), folder / "bundle" / INPUTS
            _check_code(before, source, allowed=with_code)
        repeated = command_of(before)
        _check(repeated, source)
        if not quiet:
            click.echo(f"papisim: {repeated.name} {' '.join(repeated.arguments)}", err=True)
        again = _again(repeated, home, folder / "again")
        _tell(before, again)


def _tell(before: Results, again: Results) -> None:
    """Print what differs.

    Raises:
        CheckFailed: something does.
    """
    made_by = before.manifest["versions"].get("papisim")
    if made_by != __version__:
        click.echo(f"papisim: note: the results are of papisim {made_by}, this is {__version__}", err=True)
    for line in changed_inputs(before.manifest, again.manifest):
        click.echo(f"papisim: note: {line}", err=True)
    found = list(differences(before, again))
    for line in found[:_MOST_SHOWN]:
        click.echo(line)
    if found:
        more = len(found) - _MOST_SHOWN
        raise CheckFailed(f"{len(found):,} differences" + (f", {more:,} of them not shown" if more > 0 else ""))
    click.echo(f"equal: {', '.join(again.frame_names)}, to the last digit")


def _again(repeated: Repeated, home: Path, out: Path) -> Results:
    """Give a command in a folder, and return its results."""
    given = [repeated.name, *repeated.arguments, "--out", str(out), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "papisim", *given], cwd=home, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PapisimError(f"the command failed with status {done.returncode}: {done.stderr.strip()}")
    return read_results(out)


def _check(repeated: Repeated, source: Path) -> None:
    """Refuse a command that is none of papisim's with results, and options that write elsewhere.

    Raises:
        InputError: it is such a command.
    """
    from papisim.cli import papisim  # noqa: PLC0415 - it imports this module

    known = papisim.get_command(click.Context(papisim), repeated.name)
    flags = {flag: each.name for each in (known.params if known else ()) for flag in each.opts}
    writes = [each for each in repeated.arguments if flags.get(each.partition("=")[0]) in OF_OUTPUT]
    if "--out" not in flags or writes or "--storage" in repeated.arguments:
        asked = f"papisim {repeated.name} {' '.join(repeated.arguments)}"
        raise InputError(f"found '{asked}', expected a command that writes to --out alone", file=str(source))


def _check_code(results: Results, source: Path, *, allowed: bool) -> None:
    """Refuse to run code that came with a bundle, unless it is allowed.

    Raises:
        InputError: there is some.
    """
    code = [each["path"] for each in results.manifest.get("input_files", ()) if each["path"].endswith(".py")]
    if code and not allowed:
        raise InputError(f"brings code: {', '.join(code)}; look at it, then add --with-code", file=str(source))
