"""``papisim compare``: the same requests on several machines and with several speculation policies, as ratios."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click

from papisim.cli._command import Command
from papisim.cli._options import (
    format_option,
    print_json,
    progress,
    quiet_option,
    run_option,
    run_options,
    show_notes,
)
from papisim.config.experiment import Experiment, load_experiment, options_of
from papisim.engine.run import Run, simulate
from papisim.errors import as_cell
from papisim.pricing.frames import comparison_frames
from papisim.report.console.comparison import print_comparison
from papisim.results.comparison import Comparison, distinct, label_of, split_placement
from papisim.results.metrics import extrapolation_notes
from papisim.results.store import check_free


@click.command(name="compare", cls=Command)
@run_option(
    "hw",
    "--hw",
    "machines",
    multiple=True,
    metavar="NAME|FILE[@PLACEMENT]",
    help="Machine, and its placement if not that of its file; repeat for each. Ratios are to the first.",
)
@run_option(
    "speculation",
    "--speculation",
    "policies",
    multiple=True,
    help="Speculation policy; repeat to run every machine with each.  [default: from --tlp]",
)
@run_options("hw", "speculation")
@format_option("table", "json", "csv")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for frames, figures and manifest.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@quiet_option
def command(
    *,
    machines: tuple[str, ...],
    policies: tuple[str, ...],
    output: str,
    out: Path | None,
    force: bool,
    quiet: bool,
    **options: object,
) -> None:
    """Simulate the same model and requests on several machines and print the ratios side by side.

    With several speculation policies, every machine runs with each of them.

    \b
    Example:
      papisim compare --hw papi --hw papi@pinned:gpu --hw pim_only --trace llama65b --batch 16
      papisim compare --hw papi --hw gpu_only --speculation off --speculation dsde --trace llama3-70b --batch 8 \
        --draft eagle_head --acceptance meta_70b
    """
    choices = policies or (None,)
    labels = [label_of(machine, policy) for machine in machines for policy in choices]
    experiments = [_load(machine, policy, options) for machine in machines for policy in choices]
    show_notes((note for experiment in experiments for note in experiment.notes), quiet=quiet)
    if out is not None:
        check_free(out, force=force)
    runs = tuple(_run(label, each, quiet) for label, each in zip(labels, experiments, strict=True))
    comparison = Comparison(distinct(labels), runs)
    labelled = zip(comparison.labels, comparison.summaries, strict=True)
    show_notes((f"{label}: {note}" for label, each in labelled for note in extrapolation_notes(each)), quiet=quiet)
    if out is not None:
        comparison.write(comparison_frames(comparison), out, force=force)
        if not quiet:
            click.echo(f"papisim: wrote {out}", err=True)
    _print(comparison, output)


def _run(label: str, experiment: Experiment, quiet: bool) -> Run:
    with progress(experiment.n_requests, label, quiet=quiet) as advance:
        return simulate(experiment, advance)


def _print(comparison: Comparison, output: str) -> None:
    if output == "json":
        print_json(comparison.summary)
    elif output == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(comparison.rows[0]))
        writer.writeheader()
        writer.writerows({name: as_cell(value) for name, value in row.items()} for row in comparison.rows)
    else:
        print_comparison(comparison.rows, comparison.summaries[0])


def _load(machine: str, policy: str | None, options: dict[str, object]) -> Experiment:
    hw, placement = split_placement(machine)
    chosen = {"hw": hw, "placement": placement or options["placement"], "speculation": policy}
    return load_experiment(options_of(**options | chosen))
