"""The figures of the PAPI paper, as ``papisim reproduce`` runs, prints and writes them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from papisim.cli._options import print_json
from papisim.errors import MissingExtra
from papisim.paper.figure import Figure, choose, figures
from papisim.paper.lab import Lab
from papisim.paper.readings import Readings, load_readings
from papisim.paper.reproduction import Reproduced, distances, orders, reproduce
from papisim.paper.score import SCORED
from papisim.paper.sensitivity import Effect, effects
from papisim.paper.study import Study, load_studies
from papisim.report.console.reproduction import Shown, markdown, print_figures
from papisim.report.print.chart import draw_chart
from papisim.results.store import check_free, manifest_head, write_file, write_folder

PAPER = "papi"


@dataclass(frozen=True)
class Asked:
    """What is asked for: the figures, the stance, and whether constants are moved."""

    names: tuple[str, ...]
    stance: str
    sensitivity: bool


@dataclass(frozen=True)
class _Found:
    asked: Asked
    readings: Readings
    known: dict[str, Figure]
    reproduced: Sequence[Reproduced]
    moved: Sequence[Effect]

    @property
    def scores(self) -> dict[str, float]:
        """Scores, where all figures that count are there."""
        there = {each.name for each in self.reproduced}
        return distances(self.reproduced) if there.issuperset(SCORED) else {}

    def claims(self) -> list[dict[str, Any]]:
        """All rows, as plain values, with what the constants make of them."""
        return [
            {"stance": self.asked.stance, **asdict(row), "sensitivity": self.ranges(each.name).get(row.claim, "")}
            for each in self.reproduced
            for row in each.rows
        ]

    def ranges(self, figure: str) -> dict[str, str]:
        """What each value of a figure becomes for the constant that moves it most."""
        claims = {claim: entry.what for claim, entry in self.study(figure).published.claims.items()}
        most: dict[str, Effect] = {}
        for effect in self.moved:
            if effect.figure == figure and (effect.claim not in most or effect.span > most[effect.claim].span):
                most[effect.claim] = effect
        return {
            claims[claim]: f"{effect.smaller:.3g} … {effect.larger:.3g} ({effect.constant})"
            if effect.span
            else "none"
            for claim, effect in most.items()
        }

    def study(self, figure: str) -> Study:
        """What is published of a figure."""
        return next(each.study for each in self.reproduced if each.name == figure)

    def shown(self, images: dict[str, list[Path]]) -> list[Shown]:
        """Figures as they are shown."""
        return [
            Shown(
                each.name,
                each.study.published.title,
                each.study.published.assumed,
                [asdict(row) for row in each.rows],
                self.ranges(each.name),
                images.get(each.name, []),
            )
            for each in self.reproduced
        ]


def run(asked: Asked, output: str, out: Path | None, *, force: bool, quiet: bool, processes: int | None) -> None:
    """Reproduce figures, print them, and write them where asked to."""
    known = figures(PAPER)
    chosen = {name: known[name] for name in choose(known, asked.names)}
    if out is not None:
        check_free(out, force=force)
    readings, studies = load_readings(PAPER), load_studies(PAPER)
    lab, reading = Lab(readings, processes, None if quiet else show_progress), readings.stance(asked.stance)
    reproduced = reproduce(lab, reading, chosen, studies)
    moved = list(effects(lab, reading, chosen, studies)) if asked.sensitivity else []
    found = _Found(asked, readings, chosen, reproduced, moved)
    _print(found, output)
    if out is not None:
        _write(found, out, force=force, quiet=quiet)


def show_progress(done: int, of: int) -> None:
    """Show on stderr how many runs are done."""
    click.echo(f"\rpapisim: {done} of {of} runs", nl=done == of, err=True)


def _print(found: _Found, output: str) -> None:
    if output == "json":
        print_json({
            "schema": "papisim/claims/1",
            "stance": found.asked.stance,
            "reading": found.readings.stance(found.asked.stance),
            "scores": found.scores,
            "orders_kept": orders(found.reproduced),
            "claims": found.claims(),
        })  # fmt: skip
    elif output == "csv":
        rows = found.claims()
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    else:
        print_figures(found.asked.stance, found.shown({}), found.scores)


def _write(found: _Found, out: Path, *, force: bool, quiet: bool) -> None:
    import pandas as pd  # noqa: PLC0415 - only who writes needs it

    stance = found.asked.stance
    reading = found.readings.stance(stance)
    systems = {cell.system for name, figure in found.known.items() for cell in figure.cells(found.study(name))}
    manifest = {
        **manifest_head("reproduction"),
        "paper": PAPER,
        "stance": stance,
        "reading": reading,
        "overrides": {system: list(found.readings.overrides(reading, system)) for system in sorted(systems)},
        "protocol": found.readings.protocol(reading).model_dump(),
    }
    frames = {"claims": pd.DataFrame(found.claims())}
    frames |= {each.name: pd.DataFrame(each.table) for each in found.reproduced}
    if found.moved:
        frames["sensitivity"] = pd.DataFrame([asdict(effect) for effect in found.moved])
    summary = {"stance": stance, "scores": found.scores, "orders_kept": orders(found.reproduced)}
    write_folder(out, manifest, frames, summary=summary, force=force)
    images = _draw(found.reproduced, found.known, out, quiet=quiet)
    write_file(out / "page.md", markdown(stance, found.shown(images), found.scores))
    if not quiet:
        click.echo(f"papisim: wrote {out}", err=True)


def _draw(
    reproduced: Iterable[Reproduced], known: dict[str, Figure], out: Path, *, quiet: bool
) -> dict[str, list[Path]]:
    images = {}
    try:
        for each in reproduced:
            chart, title = known[each.name].CHART, f"{each.name}: {each.study.published.title}"
            images[each.name] = draw_chart(chart, each.table, title, out / each.name)
    except MissingExtra as missing:
        if not quiet:
            click.echo(f"papisim: note: {missing}; the figures' data is in {out}", err=True)
    return images
