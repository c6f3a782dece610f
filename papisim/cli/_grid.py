"""Grids: every combination of options that have several values, swept and shown side by side."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from papisim.cli._axes import Axes, with_placements
from papisim.cli._options import noting, print_json
from papisim.cli._points import point_progress, say_what_is_kept
from papisim.exploration.frame import SWEEP_SCHEMA, points_json
from papisim.exploration.store import Form
from papisim.results.csv_files import write_csv

if TYPE_CHECKING:
    from papisim.exploration.file import SweepFile
    from papisim.exploration.run import Swept
    from papisim.report.facets import Layout


@dataclass(frozen=True)
class Keeping:
    """Where the points of a sweep go.

    Attributes:
        out: folder; None to keep none.
        form: form of the frame.
        resume: reuse the runs that the folder knows.
        force: replace what is there.
        quiet: print no notes and no progress.
    """

    out: Path | None
    form: Form = "csv"
    resume: bool = False
    force: bool = False
    quiet: bool = False


def space_of(
    axes: Axes, assignments: Sequence[str], path: Path | None = None, *, uncertainty: bool = False
) -> SweepFile:
    """Return the space that options and a file make, the options first; raises as :func:`with_options`."""
    from papisim.exploration.file import load_sweep, with_options  # noqa: PLC0415 - help should not wait for the engine

    if path is not None and not axes and not assignments and not uncertainty:
        return load_sweep(path)
    single, together = with_placements(axes)
    return with_options(single, assignments, path, together, uncertainty=uncertainty)


def evaluate(space: SweepFile, keeping: Keeping, **workers: Any) -> Swept:
    """Evaluate every point of a space, with progress on stderr."""
    from papisim.exploration.computing import Computing  # noqa: PLC0415 - help should not wait for the engine
    from papisim.exploration.preflight import check_space  # noqa: PLC0415
    from papisim.exploration.run import points, sweep  # noqa: PLC0415

    values = points(space)
    check_space(space, values)
    folder = keeping.out or Path(tempfile.mkdtemp(prefix="papisim-sweep-"))
    try:
        with (
            Computing(**workers).open(noting(quiet=keeping.quiet)) as computers,
            point_progress(len(values), space.name, quiet=keeping.quiet) as progress,
        ):
            swept = sweep(
                space, folder, computers, keeping.form, resume=keeping.resume, force=keeping.force, progress=progress
            )
    except BaseException:
        say_what_is_kept(folder, keeping.out, quiet=keeping.quiet)
        raise
    if keeping.out is None:
        shutil.rmtree(folder)
    elif not keeping.quiet:
        click.echo(f"papisim: wrote {keeping.out}", err=True)
    return swept


def layout_of(space: SweepFile, swept: Swept) -> Layout | None:
    """Return the layout of a sweep's points side by side, if they have one."""
    from papisim.report.facets import Layout  # noqa: PLC0415 - start-up time

    varying = [name for name in space.inputs() if name in swept.frame and swept.frame[name].nunique(dropna=False) > 1]
    return Layout.of(swept.frame, varying)


def print_grid(space: SweepFile, swept: Swept, output: str) -> None:
    """Print the points of a grid with their ratios to the first machine and policy."""
    from papisim.report.console.grid import print_grid as print_table  # noqa: PLC0415 - start-up time
    from papisim.report.facets import with_ratios  # noqa: PLC0415

    layout = layout_of(space, swept)
    assert layout is not None  # a grid has an axis
    if output == "csv":
        write_csv(with_ratios(swept.frame, layout), sys.stdout)
    elif output == "json":
        print_json(points_json(SWEEP_SCHEMA, with_ratios(swept.frame, layout)))
    else:
        print_table(swept.frame, layout)
