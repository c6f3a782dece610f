"""The figures of a paper, as ``papisim reproduce`` runs, prints and writes them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import click

from papisim.cli._options import print_json
from papisim.errors import MissingExtra, NotModelled
from papisim.paper.figure import Paper, choose
from papisim.paper.reproduce import Reproduced, orders_kept, reproduce, scores
from papisim.paper.runner import Lab
from papisim.paper.sensitivity import Effect, effects
from papisim.report.claims import ClaimRow, ShownFigure
from papisim.report.console.reproduction import print_figures
from papisim.report.markdown.reproduction import reproduction_page
from papisim.results.store import check_free, manifest_head, write_file, write_folder

#: the paper whose figures are reproduced if none is named
DEFAULT = "papi"


@dataclass(frozen=True)
class Output:
    """Where results go: ``format`` on stdout, and a folder."""

    format: str
    out: Path | None
    force: bool
    quiet: bool

    def note(self, text: str) -> None:
        """Tell the user on stderr, unless quiet."""
        if not self.quiet:
            click.echo(f"papisim: {text}", err=True)

    def progress(self, done: int, of: int) -> None:
        """Show on stderr how many runs are done, unless quiet."""
        if not self.quiet:
            click.echo(f"\rpapisim: {done} of {of} runs", nl=done == of, err=True)


@dataclass(frozen=True)
class _Found:
    """Reproduced figures of a paper.

    Attributes:
        paper: the paper with these figures.
        interpretation: name of the interpretation.
        reproduced: the figures.
        moved: effects of the assumed constants, if they were moved.
    """

    paper: Paper
    interpretation: str
    reproduced: Sequence[Reproduced]
    moved: Sequence[Effect]

    @property
    def chosen(self) -> dict[str, Any]:
        """The interpretation's name and alternatives; nothing for a paper that leaves nothing open."""
        if not self.paper.choices.choices:
            return {}
        taken = self.paper.choices.interpretation(self.interpretation)
        return {"interpretation": self.interpretation, "alternatives": taken}

    @property
    def scores(self) -> dict[str, float]:
        """Scores, where all figures that count were reproduced."""
        every = choose((self.paper.name,), DEFAULT)
        scored = {name for name, study in every.studies.items() if study.published.scored}
        return scores(self.reproduced) if scored and scored <= set(self.paper.figures) else {}

    def claims(self) -> list[dict[str, Any]]:
        """All rows as plain values, each with the effect of the constants on it."""
        head = {"interpretation": self.interpretation} if self.chosen else {}
        return [
            {**head, **asdict(row), "sensitivity": self.ranges(each).get(row.claim, "")}
            for each in self.reproduced
            for row in each.rows
        ]

    def ranges(self, figure: Reproduced) -> dict[str, str]:
        """The range of each value of a figure over the constant that moves it most, in words."""
        most: dict[str, Effect] = {}
        for effect in self.moved:
            if effect.figure == figure.name and (effect.claim not in most or effect.span > most[effect.claim].span):
                most[effect.claim] = effect
        claims = figure.study.published.claims
        return {
            claims[claim].what: f"{effect.smaller:.3g} … {effect.larger:.3g} ({effect.constant})"
            if effect.span
            else "none"
            for claim, effect in most.items()
        }

    def shown(self, images: Mapping[str, Sequence[Path]], *, findings: bool) -> list[ShownFigure]:
        """The figures as reports show them."""
        return [
            ShownFigure(
                name=each.name,
                title=each.study.published.title,
                assumed=each.study.assumed,
                rows=[cast("ClaimRow", asdict(row)) for row in each.rows],
                moved=self.ranges(each),
                findings=each.findings if findings else [],
                images=images.get(each.name, []),
            )
            for each in self.reproduced
        ]


def run(
    wanted: tuple[str, ...], interpretation: str, output: Output, *, sensitivity: bool, processes: int | None
) -> None:
    """Reproduce figures, print them, and write them if a folder is given."""
    paper = choose(wanted, DEFAULT)
    taken = paper.choices.interpretation(interpretation)
    if sensitivity and not paper.choices.constants:
        raise NotModelled(f"--sensitivity: {paper.title} names no assumed constants")
    if output.out is not None:
        check_free(output.out, force=output.force)
    lab = Lab(paper.choices, processes, output.progress)
    reproduced = reproduce(lab, paper, taken)
    moved = list(effects(lab, paper, taken)) if sensitivity else []
    found = _Found(paper, interpretation, reproduced, moved)
    if output.out is not None:
        _write(found, output.out, output)
    _print(found, output)


def _print(found: _Found, output: Output) -> None:
    if output.format == "json":
        print_json({
            "schema": "papisim/claims/1",
            "paper": found.paper.name,
            **found.chosen,
            "scores": found.scores,
            "orders_kept": orders_kept(found.reproduced),
            "claims": found.claims(),
        })  # fmt: skip
    elif output.format == "csv":
        rows = found.claims()
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    else:
        shown = found.shown({}, findings=output.out is not None)
        print_figures(found.chosen.get("interpretation"), shown, found.scores)


def _write(found: _Found, out: Path, output: Output) -> None:
    import pandas as pd  # noqa: PLC0415 - start-up time

    summary = {**found.chosen, "scores": found.scores, "orders_kept": orders_kept(found.reproduced)}
    frames = {"claims": pd.DataFrame(found.claims())}
    for each in found.reproduced:
        output.note(f"computing the data of {each.name}")
        frames[each.name] = pd.DataFrame(each.table)
    if found.moved:
        frames["sensitivity"] = pd.DataFrame([asdict(effect) for effect in found.moved])
    write_folder(out, _manifest(found), frames, summary=summary, force=output.force)
    images = _draw(found.reproduced, out, output)
    shown = found.shown(images, findings=True)
    page = reproduction_page(found.paper.title, found.chosen.get("interpretation"), shown, found.scores)
    write_file(out / "page.md", page)
    output.note(f"wrote {out}")


def _manifest(found: _Found) -> dict[str, Any]:
    paper = found.paper
    manifest = {**manifest_head("reproduction"), "paper": paper.name, "title": paper.title, **found.chosen}
    manifest["figures"] = {
        name: {"title": study.published.title, "assumed": study.assumed} for name, study in paper.studies.items()
    }
    if found.chosen:
        taken = found.chosen["alternatives"]
        systems = sorted({cell.system for cell in paper.cells})
        manifest["overrides"] = {system: list(paper.choices.overrides(taken, system)) for system in systems}
        manifest["protocol"] = paper.choices.protocol(taken).model_dump()
    return manifest


def _draw(reproduced: Sequence[Reproduced], out: Path, output: Output) -> dict[str, list[Path]]:
    images = {}
    try:
        for each in reproduced:
            images[each.name] = each.draw(out / each.name)
    except MissingExtra as missing:
        output.note(f"note: {missing}; the figures' data is in {out}")
    return images
