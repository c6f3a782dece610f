"""The interpretation study of the PAPI paper, as ``papisim reproduce readings`` runs, prints and writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from papisim.cli._figures import PAPER, show_progress
from papisim.cli._options import print_json
from papisim.paper.archive import Archive
from papisim.paper.crossing import Axes, axes_of
from papisim.paper.figure import figures
from papisim.paper.interpretation import Interpretation, interpret, rows
from papisim.paper.lab import Lab
from papisim.paper.readings import Readings, load_readings
from papisim.paper.study import load_studies
from papisim.report.console.readings import markdown, print_interpretation
from papisim.results.store import check_free, manifest_head, write_file, write_folder


def run(
    only: Sequence[str],
    output: str,
    out: Path | None,
    *,
    force: bool,
    quiet: bool,
    processes: int | None,
    resume: Path | None,
) -> None:
    """Score every reading of the paper, print what was found, and write it where asked to."""
    if out is not None:
        check_free(out, force=force)
    readings = load_readings(PAPER)
    axes = axes_of(readings, only)
    archive = None if resume is None else Archive(resume)
    lab = Lab(readings, processes, None if quiet else show_progress, archive)
    found = interpret(lab, axes, figures(PAPER), load_studies(PAPER))
    summary = _summary(found)
    if output == "json":
        print_json(summary)
    else:
        print_interpretation(summary, [asdict(each) for each in found.ranges], found.effects, readings.physical)
    if out is not None:
        _write(found, axes, summary, out, force=force)
        if not quiet:
            click.echo(f"papisim: wrote {out}", err=True)


def _summary(found: Interpretation) -> dict[str, Any]:
    return {
        "schema": "papisim/readings-study/1",
        "n_readings": found.n_readings,
        "n_runs": found.n_runs,
        "n_too_large": found.n_too_large,
        "score_quantiles": found.quantiles,
        "best": asdict(found.best[0]),
        "best_with_orders": asdict(found.ordered[0]) if found.ordered else None,
        "unreached": [asdict(each) for each in found.ranges if not each.reached],
    }


def _write(found: Interpretation, axes: Axes, summary: dict[str, Any], out: Path, *, force: bool) -> None:
    import pandas as pd  # noqa: PLC0415 - only who writes needs it

    frames = {
        "best": pd.DataFrame(rows(found.best)),
        "best_with_orders": pd.DataFrame(rows(found.ordered)),
        "ranges": pd.DataFrame([asdict(each) for each in found.ranges]),
        "effects": pd.DataFrame(found.effects),
    }
    manifest = {
        **manifest_head("readings"),
        "paper": PAPER,
        "crossed": dict(axes.taken),
        "choices": _choices(axes.readings),
    }
    write_folder(out, manifest, frames, summary=summary, force=force)
    ranges = [asdict(each) for each in found.ranges]
    write_file(out / "page.md", markdown(summary, ranges, found.effects, _choices(axes.readings)))


def _choices(readings: Readings) -> dict[str, Any]:
    return {name: choice.model_dump(mode="json") for name, choice in readings.choices.items()}
