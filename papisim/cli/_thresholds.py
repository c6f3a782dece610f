"""``papisim calibrate operators``: the thresholds of each operator, and the map of where either side is faster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pandas as pd
from rich.table import Table

from papisim import units
from papisim.calibration.operators import Crossover, crossovers
from papisim.cli._command import Command
from papisim.cli._options import overrides_option, run_option, show_notes
from papisim.config.experiment import RunOptions, load_experiment
from papisim.policies.placement.papi_operators import Level
from papisim.report.console.console import console
from papisim.results.csv_files import write_csv
from papisim.results.store import check_file


@click.command(name="operators", cls=Command)
@click.option("--hw", default="papi_attached", show_default=True, metavar="NAME|FILE", help="Machine.")
@click.option("--trace", "trace", required=True, metavar="NAME|DIR|FILE", help="Model.")
@run_option("engine")
@overrides_option
@click.option(
    "--map",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the time of both sides at every point of the grid, as CSV.",
)
@click.option("--force", is_flag=True, help="Replace the file in --map.")
def command(
    *, hw: str, trace: str, overrides: tuple[str, ...], file: Path | None, force: bool, **options: str
) -> None:
    """Find the thresholds of every operator with several devices, as placement papi_operators uses them.

    Each operator is priced on either side over a grid: token-rows for FC and experts; TLP, RLP and context for attention.
    Operators of a draft model are those of the draft source in --set drafting=….

    \b
    Example:
      papisim calibrate operators --hw papi_attached --trace llama3-8b --map crossover.csv
    """
    if file is not None:
        check_file(file, force=force)
    chosen = RunOptions(hw=hw, trace=trace, engine=options["engine"], placement="papi_operators", set=overrides)
    experiment = load_experiment(chosen)
    show_notes(experiment.notes, quiet=False)
    found = list(crossovers(experiment))
    console().print(_table(found))
    if file is not None:
        write_csv(pd.DataFrame(row for each in found for row in rows(each)), file)
        click.echo(f"papisim: wrote {file}", err=True)


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


def _table(found: Sequence[Crossover]) -> Table:
    table = Table("operator", "intensity from", "context from", "on PIM", box=None)
    for each in found:
        threshold = each.threshold
        if isinstance(threshold, float):
            table.add_row(each.operator.value, "0", units.NO_VALUE, f"up to {threshold:g}")
            continue
        for row in threshold:
            table.add_row(each.operator.value, f"{row.intensity:g}", f"{row.tokens:g}", _on_pim(row))
    return table


def _on_pim(row: Level) -> str:
    """Return the batches whose attention stays on PIM in words."""
    spans = [f"from {n}" if at % 2 == 0 else f"to {n - 1}" for at, n in enumerate(row.changes)]
    return f"{' '.join(spans)} requests" if spans else "never"
