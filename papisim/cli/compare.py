"""``papisim compare``: the same requests on several machines and with several speculation policies, as ratios."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import click

from papisim.cli._options import compared_options, format_option, print_json, progress, quiet_option, show_notes
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
@click.option(
    "--speculation",
    "policies",
    multiple=True,
    metavar="NAME|FILE",
    help="Who decides what is drafted; repeat to run every machine with each.  [default: from --tlp]",
)
@compared_options
@format_option("table", "json", "csv")
@quiet_option
def command(
    *, machines: tuple[str, ...], policies: tuple[str, ...], fold: str, output: str, quiet: bool, **options: Any
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
    labels = [f"{machine} + {Path(policy).stem}" if policy else machine for machine in machines for policy in choices]
    experiments = [_load(machine, policy, fold, options) for machine in machines for policy in choices]
    show_notes(experiments, quiet=quiet)
    summaries = []
    for label, experiment in zip(labels, experiments, strict=True):
        tokens = sum(request.output_tokens for request in build_workload(experiment))
        with progress(tokens, label, quiet=quiet) as advance:
            summaries.append(summarise(simulate(experiment, advance)))
    comparison = compare(labels, summaries)
    if output == "json":
        print_json({"schema": "papisim/comparison/1", "comparison": comparison, "runs": summaries})
    elif output == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(comparison[0]))
        writer.writeheader()
        writer.writerows(comparison)
    else:
        print_comparison(comparison, summaries[0])


def _load(machine: str, policy: str | None, fold: str, options: dict[str, Any]) -> Experiment:
    hw, at, placement = machine.partition("@")
    asked = RunOptions(hw=hw, placement=placement if at else None, speculation=policy, fold=fold == "on", **options)
    return load_experiment(asked)
