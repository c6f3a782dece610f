"""``papisim compare``: the same requests on several machines and with several speculation policies, as ratios."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from papisim.cli._axes import Axes, axis_option, axis_options, given, is_grid
from papisim.cli._command import Command
from papisim.cli._grid import Keeping, evaluate, print_grid, space_of
from papisim.cli._intervals import intervals_of
from papisim.cli._options import (
    print_json,
    progress,
    quiet_option,
    run_option,
    show_notes,
    table_format_option,
    uncertainty_option,
)
from papisim.cli._workers import workers_option
from papisim.config.experiment import Experiment, load_experiment, options_of
from papisim.engine.run import Run, simulate
from papisim.errors import as_cell
from papisim.pricing.frames import comparison_frames
from papisim.report.console.comparison import print_comparison
from papisim.report.console.uncertainty import print_uncertainty
from papisim.report.meaning import meaning_frame_of, meaning_of_comparison
from papisim.results.comparison import Comparison, distinct, label_of, split_placement
from papisim.results.frames import uncertainty_frame
from papisim.results.metrics import extrapolation_notes
from papisim.results.schema import Figures
from papisim.results.store import check_free


@click.command(name="compare", cls=Command)
@axis_option(
    "hw",
    metavar="NAME|FILE[@PLACEMENT][,…]",
    help="Machines, each with its placement if not that of its file. Ratios are to the first.",
)
@axis_option("speculation", help="Speculation policies; every machine runs with each.  [default: from --tlp]")
@axis_options("hw", "speculation")
@run_option("set")
@workers_option
@table_format_option("table", "json", "csv")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for frames, figures and manifest.")
@uncertainty_option
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@quiet_option
def command(
    *,
    set: tuple[str, ...],
    workers: int | None,
    output: str,
    out: Path | None,
    uncertainty: int | None,
    force: bool,
    quiet: bool,
    **options: tuple[tuple[object, ...], ...],
) -> None:
    """Simulate the same model and requests on several machines and print the ratios side by side.

    With several speculation policies, every machine runs with each of them. Where models, batch sizes or other options
    have several values, separated by commas, every combination is a point of a grid: lines are machines and policies,
    the horizontal axis is the batch size or another number, and each model has a table of its own.

    \b
    Example:
      papisim compare --hw papi,papi@pinned:gpu,pim_only --trace llama65b --batch 16
      papisim compare --hw papi,gpu_only --trace llama7b,llama65b --batch 1,4,16 --tlp 1,2,4
      papisim compare --hw papi,gpu_only --speculation off,dsde --trace llama3-70b --batch 8 \
        --draft eagle_head --acceptance meta_70b
    """
    axes = given(options)
    if is_grid(axes):
        if uncertainty:
            raise click.UsageError("--uncertainty mc:N goes with one value of each option, not with a grid")
        space = space_of(axes, set, uncertainty=uncertainty is not None)
        print_grid(space, evaluate(space, Keeping(out, force=force, quiet=quiet), workers=workers), output)
        return
    comparison = _comparison(axes, set, out, force=force, quiet=quiet)
    labelled = zip(comparison.labels, comparison.summaries, strict=True)
    show_notes((f"{label}: {note}" for label, each in labelled for note in extrapolation_notes(each)), quiet=quiet)
    intervals = intervals_of(comparison.labels, comparison.runs, uncertainty, quiet=quiet)
    if out is not None:
        frames = comparison_frames(comparison) | uncertainty_frame(intervals) | meaning_frame_of(comparison)
        comparison.write(frames, out, force=force)
        if not quiet:
            click.echo(f"papisim: wrote {out}", err=True)
    _print(comparison, output, intervals)


def _comparison(axes: Axes, assignments: Sequence[str], out: Path | None, *, force: bool, quiet: bool) -> Comparison:
    """Run every machine with every speculation policy; all other options have one value."""
    machines, policies = axes["hw"], axes.get("speculation", [None])
    single = {name: values[0] for name, values in axes.items()} | {"set": assignments}
    labels = [label_of(machine, policy) for machine in machines for policy in policies]
    experiments = [_load(machine, policy, single) for machine in machines for policy in policies]
    show_notes((note for experiment in experiments for note in experiment.notes), quiet=quiet)
    if out is not None:
        check_free(out, force=force)
    runs = tuple(_run(label, each, quiet) for label, each in zip(labels, experiments, strict=True))
    return Comparison(distinct(labels), runs)


def _run(label: str, experiment: Experiment, quiet: bool) -> Run:
    with progress(experiment.n_requests, label, quiet=quiet) as advance:
        return simulate(experiment, advance)


def _print(comparison: Comparison, output: str, intervals: list[Figures]) -> None:
    if output == "json":
        print_json({**comparison.summary, **({"uncertainty": intervals} if intervals else {})})
    elif output == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(comparison.rows[0]))
        writer.writeheader()
        writer.writerows({name: as_cell(value) for name, value in row.items()} for row in comparison.rows)
    else:
        print_comparison(comparison.rows, comparison.summaries[0], meaning_of_comparison(comparison))
        print_uncertainty(intervals)


def _load(machine: str, policy: str | None, options: dict[str, object]) -> Experiment:
    hw, placement = split_placement(machine)
    chosen = {"hw": hw, "placement": placement or options.get("placement"), "speculation": policy}
    return load_experiment(options_of(**options | chosen))
