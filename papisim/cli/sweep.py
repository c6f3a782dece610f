"""``papisim sweep``: every point of a space of designs, as one frame."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from papisim.cli._command import Command
from papisim.cli._options import format_option, noting, quiet_option
from papisim.cli._points import frame_option, point_progress, say_what_is_kept, show_points
from papisim.cli._workers import worker_options
from papisim.errors import InputError
from papisim.exploration.frame import SWEEP_SCHEMA
from papisim.exploration.store import Form


@click.command(name="sweep", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the frame and the manifest.")
@worker_options
@click.option("--resume", is_flag=True, help="Reuse every run that --out knows; the file may have changed.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@frame_option
@format_option("table", "csv", "json")
@quiet_option
def command(
    *, file: Path, out: Path | None, resume: bool, force: bool, form: Form, output: str, quiet: bool, **workers: Any
) -> None:
    """Evaluate every point of the space that FILE declares, and write one frame with a row for each.

    A point that is infeasible or fails is a row with its reason. After an interruption finished points are kept, and
    --resume continues. docs/sweep.md has the grammar of FILE by example.

    \b
    Example:
      papisim sweep scripts/dse/fpu_banks.yaml --out results/fpu_banks
    """
    from papisim.exploration.computing import Computing  # noqa: PLC0415 - help should not wait for the engine
    from papisim.exploration.file import load_sweep  # noqa: PLC0415
    from papisim.exploration.preflight import check_space  # noqa: PLC0415
    from papisim.exploration.run import points, sweep  # noqa: PLC0415

    if resume and out is None:
        raise InputError("--resume needs --out, the folder of the sweep to continue")
    found = load_sweep(file)
    values = points(found)
    check_space(found, values)
    folder = out or Path(tempfile.mkdtemp(prefix="papisim-sweep-"))
    try:
        with (
            Computing(**workers).open(noting(quiet=quiet)) as computers,
            point_progress(len(values), found.name, quiet=quiet) as progress,
        ):
            swept = sweep(found, folder, computers, form, resume=resume, force=force, progress=progress)
    except BaseException:
        say_what_is_kept(folder, out, quiet=quiet)
        raise
    leading, title = [*found.axis_names(), *found.columns], f"{len(swept.frame):,} points"
    show_points(swept.frame, swept.tally, leading, output, schema=SWEEP_SCHEMA, title=title)
    if out is None:
        shutil.rmtree(folder)
    elif not quiet:
        click.echo(f"papisim: wrote {out}", err=True)
