"""``papisim run``: what happens on this machine with this model and these requests."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from papisim.cli._command import Command
from papisim.cli._intervals import intervals_of
from papisim.cli._options import (
    format_option,
    print_json,
    progress,
    quiet_option,
    run_options,
    show_notes,
    uncertainty_option,
)
from papisim.config.experiment import load_experiment, options_of
from papisim.engine.run import simulate
from papisim.pricing.frames import run_frames
from papisim.report.console.run import print_run
from papisim.report.console.uncertainty import print_uncertainty
from papisim.report.meaning import meaning_frame_of
from papisim.report.timeline import parse_window, timeline
from papisim.results.frames import uncertainty_frame
from papisim.results.metrics import extrapolation_notes, summarise
from papisim.results.store import check_free, write_run


@click.command(name="run", cls=Command)
@run_options()
@format_option("table", "json")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for frames, summary and manifest.")
@click.option(
    "--timeline",
    "timeline_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Chrome trace of the run, for Perfetto.",
)
@click.option(
    "--timeline-window",
    metavar="FROM..TO",
    help="Steps of the timeline, kernel by kernel: 0.1s..0.2s, or iterations 100..120.  [default: all, 8 kernel by kernel]",
)
@uncertainty_option
@click.option("--force", is_flag=True, help="Replace what is in --out and --timeline.")
@quiet_option
def command(
    *,
    output: str,
    out: Path | None,
    timeline_file: Path | None,
    timeline_window: str | None,
    uncertainty: int | None,
    force: bool,
    quiet: bool,
    **options: object,
) -> None:
    """Simulate one machine serving one stream of requests.

    Results go to stdout, notes and progress to stderr.

    \b
    Example:
      papisim run --hw papi --trace llama65b --batch 64 --tlp 2 --out results/first
      papisim run --hw papi --trace llama7b --batch 16 --timeline first.json --timeline-window 0.1s..0.12s
    """
    if timeline_window is not None and timeline_file is None:
        raise click.UsageError("--timeline-window needs --timeline FILE")
    if out is not None and timeline_file is not None and timeline_file.resolve().is_relative_to(out.resolve()):
        raise click.UsageError("--timeline FILE is in --out, which is replaced as a whole; choose a file outside")
    window = None if timeline_window is None else parse_window(timeline_window)
    experiment = load_experiment(options_of(**options))
    show_notes(experiment.notes, quiet=quiet)
    if out is not None:
        check_free(out, force=force)
    label = f"{experiment.system.name} · {experiment.trace.name}"
    with (
        progress(experiment.n_requests, label, quiet=quiet) as advance,
        timeline(experiment, timeline_file, window, force=force) if timeline_file else nullcontext() as probe,
    ):
        run = simulate(experiment, advance, probe)
    intervals = intervals_of([experiment.system.name], [run], uncertainty, quiet=quiet)
    if out is not None:
        write_run(run, run_frames(run) | uncertainty_frame(intervals) | meaning_frame_of(run), out, force=force)
    for written in (timeline_file, out):
        if written is not None and not quiet:
            click.echo(f"papisim: wrote {written}", err=True)
    show_notes(extrapolation_notes(summarise(run)), quiet=quiet)
    if output == "json":
        print_json({**summarise(run), **({"uncertainty": intervals} if intervals else {})})
    else:
        print_run(run)
        print_uncertainty(intervals)
