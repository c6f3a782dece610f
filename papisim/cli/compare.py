"""``papisim compare``: the same requests on several machines, as ratios."""

from __future__ import annotations

import csv
import sys
from typing import Any

import click

from papisim.cli._options import format_option, print_json, progress, quiet_option, run_options, show_notes
from papisim.engine.build import build_workload
from papisim.engine.run import simulate
from papisim.report.comparison import compare, print_comparison
from papisim.results.metrics import summarise
from papisim.spec.experiment import Experiment, RunOptions, load_experiment


@click.command(name="compare")
@click.option(
    "--hw",
    "machines",
    required=True,
    multiple=True,
    metavar="NAME|FILE[@PLACEMENT]",
    help="Machine, and where its FC runs if not as its file says; repeat for each. Ratios are to the first.",
)
@run_options
@format_option("table", "json", "csv")
@quiet_option
def command(*, machines: tuple[str, ...], fold: str, output: str, quiet: bool, **options: Any) -> None:
    r"""Simulate the same model and requests on several machines and print the ratios side by side.

    \b
    Example:
      papisim compare --hw papi --hw papi@pinned:gpu --hw pim_only --trace llama65b --batch 16
    """
    experiments = [_load(machine, fold, options) for machine in machines]
    show_notes(experiments, quiet=quiet)
    summaries = []
    for label, experiment in zip(machines, experiments, strict=True):
        tokens = sum(request.output_tokens for request in build_workload(experiment))
        with progress(tokens, label, quiet=quiet) as advance:
            summaries.append(summarise(simulate(experiment, advance)))
    comparison = compare(list(machines), summaries)
    if output == "json":
        print_json({"schema": "papisim/comparison/1", "comparison": comparison, "runs": summaries})
    elif output == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(comparison[0]))
        writer.writeheader()
        writer.writerows(comparison)
    else:
        print_comparison(comparison, summaries[0])


def _load(machine: str, fold: str, options: dict[str, Any]) -> Experiment:
    hw, at, placement = machine.partition("@")
    return load_experiment(RunOptions(hw=hw, placement=placement if at else None, fold=fold == "on", **options))
