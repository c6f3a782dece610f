"""``papisim capture`` from silicon: profile a model on a GPU, or import a profiler's trace."""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click

from papisim import foreign
from papisim.cli._options import print_json
from papisim.errors import InputError
from papisim.ops.trace import Point
from papisim.tracing.durations import (
    Durations,
    as_json,
    durations_of,
    import_trace,
    longest_unclassed,
    write_durations,
)
from papisim.tracing.kineto import KinetoTrace, read_kineto
from papisim.tracing.launches import UNCLASSED
from papisim.tracing.models import ModelSource

Progress = Callable[[str], None]
_NAME_WIDTH = 88


class WholeNumbers(click.ParamType):  # type: ignore[type-arg,unused-ignore] # generic in newer clicks only
    """A list of whole numbers of at least 1, such as ``1,4,16``."""

    name = "N,…"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:  # fmt: skip
        """Read the list."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(dict.fromkeys(foreign.whole(part.strip(), 1) for part in str(value).split(",")))
        except ValueError:
            self.fail(f"found {value!r}, expected whole numbers of at least 1 such as 1,4,16", param, ctx)


@dataclass(frozen=True)
class Grid:
    """Points to profile: requests, new and cached tokens per request, and the number of layers of the model."""

    rlp: tuple[int, ...]
    tlp: tuple[int, ...]
    kv: tuple[int, ...]
    n_layers: int | None

    def points(self) -> list[Point]:
        """Return every combination."""
        return [Point(rlp=rlp, tlp=tlp, kv=kv) for rlp, tlp, kv in product(self.rlp, self.tlp, self.kv)]


def show_import(file: Path, output: str, *, quiet: bool) -> None:
    """Import a profiler's trace and print its time by class."""
    trace, durations = import_trace(file)
    if output == "json":
        print_json(as_json(file, trace, durations))
    elif output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("kernel_class", "n_kernels", "time_s"))
        writer.writerows((c.kernel_class, c.n_kernels, f"{c.time_s:.6g}") for c in durations.classes)
    else:
        _print_table(trace, durations)
    if not quiet:
        _notes(trace, durations)


def _print_table(trace: KinetoTrace, durations: Durations) -> None:
    click.echo(f"{'class':<22}{'kernels':>9}{'time_ms':>12}{'share_%':>9}")
    for of_class in durations.classes:
        share = 100 * of_class.time_s / durations.time_s
        time_ms = of_class.time_s * 1e3
        click.echo(f"{of_class.kernel_class:<22}{of_class.n_kernels:>9,}{time_ms:>12.4f}{share:>9.2f}")
    on = f" on {trace.gpu}" if trace.gpu else ""
    click.echo(f"{'total':<22}{len(trace.launches):>9,}{durations.time_s * 1e3:>12.4f}{100:>9.2f}{on}")
    click.echo(f"classed: {durations.classed_ratio:.2%} of the GPU time")
    for name, share, text in durations.artefacts:
        click.echo(f"artefact: {name}, {share:.1%}: {text}")


def _notes(trace: KinetoTrace, durations: Durations) -> None:
    if trace.n_gpus > 1:
        click.echo(f"papisim: note: times are sums over {trace.n_gpus} GPUs or ranks in one file", err=True)
    if not trace.has_shapes:
        click.echo("papisim: note: recorded without record_shapes=True: kernels are classed by name alone", err=True)
    if any(of_class.kernel_class == UNCLASSED for of_class in durations.classes):
        for name, time_s in longest_unclassed(trace):
            click.echo(f"papisim: note: unclassed: {time_s * 1e3:.4f} ms {name[:_NAME_WIDTH]}", err=True)


def profile_grid(
    source: ModelSource,
    grid: Grid,
    out: Path | None,
    traces: Path | None,
    progress: Progress,
    *,
    force: bool,
) -> Path:
    """Profile a model on the GPU at every point of a grid and write its time by class.

    Args:
        source: the model.
        grid: where to run.
        out: folder of the table; ``kernels/measured/<gpu>`` when None.
        traces: folder to keep the profiler's traces in.
        progress: called with a line on each step.
        force: replace an existing table.

    Returns:
        The table.
    """
    from papisim.tracing.profiler import gpu_name, record, require_gpu  # noqa: PLC0415 - torch takes seconds

    require_gpu()
    folder = out or Path("kernels/measured") / gpu_name()
    table = folder / f"capture_{source.name}{f'_{grid.n_layers}layer' if grid.n_layers else ''}.csv"
    if table.exists() and not force:
        raise InputError("exists already; --force overwrites it", file=str(table))
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for step in record(source, grid.points(), traces or Path(scratch), n_layers=grid.n_layers, progress=progress):
            durations = durations_of(read_kineto(step.file))
            progress(f"{step.point}: {_in_words(durations)}")
            rows.append((step.point, durations))
    write_durations(table, rows)
    return table


def _in_words(durations: Durations) -> str:
    artefacts = "".join(f", {share:.1%} {name}" for name, share, _ in durations.artefacts if share >= 0.01)  # noqa: PLR2004 - 1 %
    return f"{durations.time_s * 1e3:.3f} ms on the GPU, {durations.classed_ratio:.1%} classed{artefacts}"
