"""``papisim run``: what happens on this machine with this model and these requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from papisim.cli._options import (
    format_option,
    print_json,
    progress,
    quiet_option,
    run_options,
    run_options_of,
    show_notes,
)
from papisim.engine.run import simulate
from papisim.report.summary import print_run
from papisim.results.metrics import summarise
from papisim.results.store import check_free, write_run
from papisim.spec.experiment import load_experiment


@click.command(name="run")
@click.option("--hw", required=True, metavar="NAME|FILE", help="Machine: a shipped name or a path.")
@run_options
@click.option("--placement", metavar="KIND[:DEVICE]", help="Where FC runs: papi, cheapest, pinned:DEVICE.")
@format_option("table", "json")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for frames, summary and manifest.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@quiet_option
def command(*, output: str, out: Path | None, force: bool, quiet: bool, **options: Any) -> None:
    """Simulate one machine serving one stream of requests.

    Results go to stdout, notes and progress to stderr.

    \b
    Example:
      papisim run --hw papi --trace llama65b --batch 64 --tlp 2 --out results/first
    """
    experiment = load_experiment(run_options_of(options))
    show_notes([experiment], quiet=quiet)
    if out is not None:
        check_free(out, force=force)
    with progress(
        experiment.n_requests, f"{experiment.system.name} · {experiment.trace.name}", quiet=quiet
    ) as advance:
        run = simulate(experiment, advance)
    if out is not None:
        write_run(run, out, force=force)
        if not quiet:
            click.echo(f"papisim: wrote {out}", err=True)
    if output == "json":
        print_json(summarise(run))
    else:
        print_run(run)
