"""``papisim optimise``: the non-dominated designs of a space."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from papisim.cli._command import Command
from papisim.cli._options import PositiveInt, noting, quiet_option, table_format_option
from papisim.cli._points import frame_option, point_progress, say_what_is_kept, show_points
from papisim.cli._workers import worker_options
from papisim.errors import InputError, MissingExtra
from papisim.exploration.frame import FRONT_SCHEMA, records

if TYPE_CHECKING:
    from papisim.exploration.optimise import Optimised


@click.command(name="optimise", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the frames, the figure, the study and the manifest."
)
@click.option("--trials", type=PositiveInt(), help="Points to try.  [default: the file's]")
@click.option(
    "--storage",
    metavar="FILE|URL",
    help="Study that several machines share: a journal file, or a database (sqlite:///…).",
)
@click.option(
    "--warm-start",
    type=click.Path(path_type=Path),
    metavar="DIR|FRAME",
    help="Sweep whose best points are tried first.",
)
@worker_options
@click.option("--resume", is_flag=True, help="Continue the study in --out.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@frame_option
@table_format_option("table", "csv", "json")
@quiet_option
def command(*, file: Path, out: Path | None, resume: bool, output: str, quiet: bool, **options: Any) -> None:
    """Search the space that FILE declares for the best designs by its objectives.

    The result is the Pareto front: the feasible designs that no other beats in all objectives. docs/sweep.md has the
    grammar of FILE by example.

    \b
    Example:
      papisim optimise scripts/dse/pim_counts.yaml --trials 100 --out results/pim_counts
    """
    from papisim.exploration.computing import Computing  # noqa: PLC0415 - help should not wait for the engine
    from papisim.exploration.file import load_sweep  # noqa: PLC0415
    from papisim.exploration.optimise import check_search, optimise  # noqa: PLC0415

    if resume and out is None:
        raise InputError("--resume needs --out, the folder of the study to continue")
    found = load_sweep(file)
    search = check_search(found)
    own = {name: options.pop(name) for name in ("trials", "storage", "warm_start", "force", "form")}
    folder = out or Path(tempfile.mkdtemp(prefix="papisim-optimise-"))
    try:
        with (
            Computing(**options).open(noting(quiet=quiet)) as workers,
            point_progress(own["trials"] or search.settings.trials, found.name, quiet=quiet) as progress,
        ):
            done = optimise(found, folder, workers, resume=resume, progress=progress, **own)
    except BaseException:
        say_what_is_kept(folder, out, quiet=quiet)
        raise
    names = [objective.name for objective in search.objectives]
    leading, title = [*found.axis_names(), *found.columns], f"{len(done.front):,} designs that no other beats"
    show_points(done.front, done.tally, leading, output, schema=FRONT_SCHEMA, title=title)
    if out is None:
        shutil.rmtree(folder)
        return
    _draw(done, names, out, quiet=quiet)
    if not quiet:
        click.echo(f"papisim: wrote {out}", err=True)


def _draw(done: Optimised, objectives: list[str], out: Path, *, quiet: bool) -> None:
    from papisim.report.print.pareto_front import draw  # noqa: PLC0415 - only here

    tried = done.frame[done.frame["status"] == "ok"]
    if not len(tried):
        return
    try:
        draw(records(tried), records(done.front), objectives, out / "pareto")
    except MissingExtra as missing:
        if not quiet:
            click.echo(f"papisim: note: {missing}; the front's data is in {out}", err=True)
