"""``papisim calibrate operators``: the thresholds of each operator, and the map of where either side is faster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import click
import pandas as pd
from rich.table import Table

from papisim import catalog, units
from papisim.calibration.operators import Crossover, Subject, crossovers, subjects
from papisim.calibration.thresholds import Thresholds, calibrate, stamp, stored, write_system
from papisim.catalog import Shelf
from papisim.cli._command import Command
from papisim.cli._options import format_option, overrides_option, print_json, run_option, show_notes
from papisim.config.experiment import Experiment, RunOptions, load_experiment
from papisim.config.yaml import load_yaml
from papisim.policies.placement.papi_operators import Level, Threshold
from papisim.report.console.console import console
from papisim.results.csv_files import write_csv
from papisim.results.store import check_file, write_file

_FILE = click.Path(path_type=Path, dir_okay=False)


class Found(NamedTuple):
    """The thresholds of a model.

    Attributes:
        subject: the model on the machine.
        thresholds: the threshold of each operator.
        stamp: their hash, with the machine and the model.
        is_stored: whether the machine's files have the same.
    """

    subject: Subject
    thresholds: Thresholds
    stamp: str
    is_stored: bool

    @property
    def as_json(self) -> dict[str, object]:
        """The thresholds as plain values."""
        return {
            "model": self.subject.trace.name,
            "drafts": self.subject.drafts,
            "stamp": self.stamp,
            "stored": self.is_stored,
            "thresholds": {operator.value: _plain(each) for operator, each in self.thresholds.items()},
        }


@click.command(name="operators", cls=Command)
@click.option("--hw", default="papi_attached", show_default=True, metavar="NAME|FILE", help="Machine.")
@click.option("--trace", "traces", multiple=True, required=True, metavar="NAME|DIR|FILE", help="Models.")
@run_option("engine")
@overrides_option
@click.option(
    "--map", "map_file", type=_FILE, help="Write the time of both sides at every point of the grid, as CSV."
)
@click.option(
    "--out", type=_FILE, help="Write the machine's file with a stamp per model, and its table of thresholds."
)
@click.option("--force", is_flag=True, help="Replace the files in --map and --out.")
@format_option("table", "json")
def command(
    *,
    hw: str,
    traces: tuple[str, ...],
    overrides: tuple[str, ...],
    map_file: Path | None,
    out: Path | None,
    force: bool,
    output: str,
    **options: str,
) -> None:
    """Find the thresholds of every operator with several devices, as placement papi_operators uses them.

    Each operator is priced on either side over a grid: token-rows for FC and experts; TLP, RLP and context for attention.
    Operators of a draft model are those of the draft source in --set drafting=….

    The file in --out names a table of thresholds beside it, and has a stamp per model, the hash of the thresholds and of the devices, links,
    model, quantisation and engine that they hold for: a run takes thresholds whose stamp fits, and calibrates where none does.

    \b
    Example:
      papisim calibrate operators --hw papi_attached --trace llama3-8b --map crossover.csv
      papisim calibrate operators --hw my_system.yaml --trace llama3-8b --trace llama3-70b --out my_calibrated_system.yaml
    """
    for file in filter(None, (map_file, out)):
        check_file(file, force=force)
    if out is not None and overrides:
        raise click.UsageError("--out writes the file in --hw as it is; change the fields there, not by --set")
    chosen = {"hw": hw, "engine": options["engine"], "placement": "papi_operators", "set": overrides}
    experiments = [load_experiment(RunOptions(trace=trace, **chosen)) for trace in traces]
    show_notes(experiments[0].notes, quiet=False)
    found = [_found(subject) for experiment in experiments for subject in subjects(experiment)]
    if output == "json":
        system, engine = experiments[0].system.name, experiments[0].engine.name
        models = [each.as_json for each in found]
        print_json({"schema": "papisim/operator-thresholds/1", "system": system, "engine": engine, "models": models})
    else:
        console().print(_table(found))
    if map_file is not None:
        write_csv(pd.DataFrame(row for experiment in experiments for row in _mapped(experiment)), map_file)
        click.echo(f"papisim: wrote {map_file}", err=True)
    if out is not None:
        _write(out, hw, found, force=force)


def _found(subject: Subject) -> Found:
    thresholds = calibrate(subject)
    return Found(subject, thresholds, stamp(subject, thresholds), stored(subject) == thresholds)


def _write(out: Path, hw: str, found: list[Found], *, force: bool) -> None:
    document = load_yaml(catalog.find(Shelf.SYSTEM, hw).path).data
    own = {each.subject.trace.name: each for each in found if not each.subject.drafts}
    stamps = {model: each.stamp for model, each in own.items()}
    table = {model: each.thresholds for model, each in own.items()}
    texts = write_system(document, table, stamps, out)
    for file, text in texts.items():
        write_file(file, text, force=force)
        click.echo(f"papisim: wrote {file}", err=True)


def _mapped(experiment: Experiment) -> Iterator[dict[str, object]]:
    for each in crossovers(experiment):
        yield from ({"model": experiment.trace.name, **row} for row in rows(each))


def rows(found: Crossover) -> Iterator[dict[str, object]]:
    """Yield the rows of a crossover map."""
    for at, point in enumerate(found.points):
        on_units, on_pim = float(found.processing_unit_s[at]), float(found.pim_s[at])
        yield {
            "operator": found.operator.value,
            "rlp": point.rlp,
            "tlp": point.tlp,
            "cached": point.cached,
            "intensity": float(found.intensity[at]),
            "processing_unit": found.processing_unit,
            "processing_unit_s": on_units,
            "pim": found.pim,
            "pim_s": on_pim,
            "faster": found.processing_unit if on_units < on_pim else found.pim,
        }


def _plain(threshold: Threshold) -> object:
    """Return a threshold as plain values; attention that is never on PIM changes sides at no number of requests."""
    if isinstance(threshold, list):
        return [{"intensity": row.intensity, "tokens": row.tokens, "requests": row.changes} for row in threshold]
    if isinstance(threshold, Mapping):
        return {
            role.value: own if isinstance(own, float) else {str(size): each for size, each in own.items()}
            for role, own in threshold.items()
        }
    return threshold


def _table(found: list[Found]) -> Table:
    table = Table("model", "operator", "intensity from", "context from", "on PIM", box=None)
    for each in found:
        for operator, threshold in each.thresholds.items():
            for name, *cells in _lines(operator.value, threshold):
                table.add_row(each.subject.trace.name, name, *cells)
    return table


def _lines(name: str, threshold: Threshold) -> Iterator[tuple[str, str, str, str]]:
    if isinstance(threshold, float):
        yield name, "0", units.NO_VALUE, f"up to {threshold:g}"
    elif isinstance(threshold, Mapping):
        for role, own in threshold.items():
            for size, each in own.items() if isinstance(own, Mapping) else [(0, own)]:
                yield f"{name}.{role.value}" + (f".{size}" if size else ""), "0", units.NO_VALUE, f"up to {each:g}"
    else:
        yield from ((name, f"{row.intensity:g}", f"{row.tokens:g}", _on_pim(row)) for row in threshold)


def _on_pim(row: Level) -> str:
    """Return the batches whose attention stays on PIM in words."""
    spans = [f"from {n}" if at % 2 == 0 else f"to {n - 1}" for at, n in enumerate(row.changes)]
    return f"{' '.join(spans)} requests" if spans else "never"
