"""The ranking of a paper's interpretations, as ``papisim reproduce interpretations`` runs, prints and writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from papisim.api.literature import DEFAULT
from papisim.cli._figures import Output
from papisim.cli._options import print_json
from papisim.paper.all_choices import Axes, axes_of
from papisim.paper.archive import Archive
from papisim.paper.figure import Paper, load_paper
from papisim.paper.ranking import Ranking, rank, rows
from papisim.paper.runner import Lab
from papisim.report.console.interpretations import print_ranking
from papisim.report.markdown.interpretations import Choice, ranking_page
from papisim.report.ranking import Best, Effect, Range, Summary
from papisim.results.store import check_free, manifest_head, write_file, write_folder


def run(only: Sequence[str], output: Output, *, processes: int | None, resume: Path | None) -> None:
    """Score every interpretation of the PAPI paper, print the ranking, and write it if a folder is given.

    Args:
        only: the choices that are crossed; all if none is named.
        output: where results go.
        processes: number of processes; one per core if None.
        resume: folder that keeps finished runs.
    """
    paper = load_paper(DEFAULT)
    axes = axes_of(paper.choices, only)
    if output.out is not None:
        check_free(output.out, force=output.force)
    archive = None if resume is None else Archive(resume)
    found = rank(Lab(paper.choices, processes, output.progress, archive), axes, paper)
    summary, ranges, effects = _summary(found), _ranges(found), cast("Sequence[Effect]", found.effects)
    if output.format == "json":
        print_json(summary)
    else:
        print_ranking(summary, ranges, effects, _main(paper), paper.choices.physical)
    if output.out is not None:
        _write(found, axes, paper, summary, output.out, force=output.force)
        output.note(f"wrote {output.out}")


def _summary(found: Ranking) -> Summary:
    ordered = found.ordered[0] if found.ordered else None
    return Summary(
        schema="papisim/interpretations/1",
        n_interpretations=found.n_interpretations,
        n_runs=found.n_runs,
        n_too_large=found.n_too_large,
        score_quantiles=found.quantiles,
        best=cast("Best", asdict(found.best[0])),
        best_with_orders=None if ordered is None else cast("Best", asdict(ordered)),
        unreached=[each for each in _ranges(found) if not each["reached"]],
    )


def _ranges(found: Ranking) -> list[Range]:
    return [cast("Range", asdict(each)) for each in found.ranges]


def _main(paper: Paper) -> dict[tuple[str, str], str]:
    """Return the headings of the numbers whose effects are shown."""
    return {
        (name, claim): f"{name} {entry.shown}"
        for name, study in paper.studies.items()
        for claim, entry in study.published.claims.items()
        if entry.main
    }


def _write(found: Ranking, axes: Axes, paper: Paper, summary: Summary, out: Path, *, force: bool) -> None:
    import pandas as pd  # noqa: PLC0415 - start-up time

    frames = {
        "best": pd.DataFrame(rows(found.best)),
        "best_with_orders": pd.DataFrame(rows(found.ordered)),
        "ranges": pd.DataFrame(_ranges(found)),
        "effects": pd.DataFrame(found.effects),
    }
    choices = {name: choice.model_dump(mode="json") for name, choice in paper.choices.choices.items()}
    manifest = {
        **manifest_head("interpretations"),
        "paper": paper.name,
        "crossed": dict(axes.taken),
        "choices": choices,
    }
    write_folder(out, manifest, frames, summary=summary, force=force)
    shown, effects = cast("dict[str, Choice]", choices), cast("Sequence[Effect]", found.effects)
    page = ranking_page(paper.title, summary, _ranges(found), effects, main=_main(paper), choices=shown)
    write_file(out / "page.md", page)
