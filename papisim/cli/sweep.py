"""``papisim sweep``: every point of a space of designs, as one frame."""

from __future__ import annotations

from pathlib import Path

import click

from papisim.cli._axes import axis_options, given
from papisim.cli._command import Command
from papisim.cli._grid import Keeping, evaluate, space_of
from papisim.cli._options import quiet_option, run_option, table_format_option
from papisim.cli._points import frame_option, show_points
from papisim.cli._workers import split_workers, worker_options
from papisim.errors import InputError
from papisim.exploration.frame import SWEEP_SCHEMA
from papisim.exploration.store import Form


@click.command(name="sweep", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@axis_options(required=False)
@run_option("set")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the frame and the manifest.")
@click.option(
    "--uncertainty",
    is_flag=True,
    help="Also give the ends of 90 % intervals, as columns of the frame (FILE: uncertainty: true).",
)
@worker_options
@click.option("--resume", is_flag=True, help="Reuse every run that --out knows; the file may have changed.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@frame_option
@table_format_option("table", "csv", "json")
@quiet_option
def command(
    *,
    file: Path | None,
    set: tuple[str, ...],
    out: Path | None,
    resume: bool,
    force: bool,
    form: Form,
    output: str,
    quiet: bool,
    **others: object,
) -> None:
    """Evaluate every point of a space, and write one frame with a row for each.

    The space is what FILE declares, and every combination of the options that have several values, separated by commas; an
    option replaces what FILE says of it. A point that is infeasible or fails is a row with its reason. After an
    interruption finished points are kept, and --resume continues. docs/sweep.md has the grammar of FILE by example.

    \b
    Example:
      papisim sweep scripts/dse/fpu_banks.yaml --out results/fpu_banks
      papisim sweep --hw papi,gpu_only --trace llama7b --batch 1,4,16
    """
    if resume and out is None:
        raise InputError("--resume needs --out, the folder of the sweep to continue")
    uncertainty = bool(others.pop("uncertainty"))
    workers, options = split_workers(others)
    axes = given(options)
    if file is None and not {"hw", "trace"} <= axes.keys():
        raise click.UsageError(
            "expected FILE, or --hw and --trace; both, and every other option, may have several values"
        )
    space = space_of(axes, set, file, uncertainty=uncertainty)
    swept = evaluate(space, Keeping(out, form, resume, force, quiet), **workers)
    leading, title = [*space.axis_names(), *space.columns], f"{len(swept.frame):,} points"
    show_points(
        swept.frame, swept.tally, leading, output, schema=SWEEP_SCHEMA, title=title, inputs=space.axis_names()
    )
