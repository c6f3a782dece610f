"""The figures of a paper, as ``papisim reproduce`` runs, prints and writes them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import click

from papisim.api.literature import Reproduction, reproduce
from papisim.cli._options import print_json
from papisim.errors import MissingExtra
from papisim.paper.reproduce import Reproduced, orders_kept
from papisim.report.claims import ClaimRow, ShownFigure
from papisim.report.console.reproduction import print_figures
from papisim.report.markdown.reproduction import reproduction_page
from papisim.results.store import check_free, manifest_head, write_file, write_folder


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


def run(
    wanted: tuple[str, ...], interpretation: str, output: Output, *, sensitivity: bool, processes: int | None
) -> None:
    """Reproduce figures, print them, and write them if a folder is given."""
    if output.out is not None:
        check_free(output.out, force=output.force)
    found = reproduce(
        *wanted, interpretation=interpretation, sensitivity=sensitivity, processes=processes, progress=output.progress
    )
    if output.out is not None:
        _write(found, output.out, output)
    _print(found, output)


def _shown(found: Reproduction, images: Mapping[str, Sequence[Path]], *, findings: bool) -> list[ShownFigure]:
    """Return the figures as reports show them."""
    return [
        ShownFigure(
            name=each.name,
            title=each.study.published.title,
            assumed=each.study.assumed,
            rows=[cast("ClaimRow", asdict(row)) for row in each.rows],
            moved=found.ranges(each),
            findings=each.findings if findings else [],
            images=images.get(each.name, []),
        )
        for each in found.reproduced
    ]


def _print(found: Reproduction, output: Output) -> None:
    if output.format == "json":
        print_json(found.summary)
    elif output.format == "csv":
        rows = found.claims()
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    else:
        shown = _shown(found, {}, findings=output.out is not None)
        print_figures(found.chosen.get("interpretation"), shown, found.scores)


def _write(found: Reproduction, out: Path, output: Output) -> None:
    summary = {**found.chosen, "scores": found.scores, "orders_kept": orders_kept(found.reproduced)}
    output.note("computing the data of figures")
    write_folder(out, _manifest(found), found.frames, summary=summary, force=output.force)
    images = _draw(found.reproduced, out, output)
    shown = _shown(found, images, findings=True)
    page = reproduction_page(found.paper.title, found.chosen.get("interpretation"), shown, found.scores)
    write_file(out / "page.md", page)
    output.note(f"wrote {out}")


def _manifest(found: Reproduction) -> dict[str, object]:
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
