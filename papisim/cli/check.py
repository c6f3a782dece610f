"""``papisim check``: are these files right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from papisim import catalog
from papisim.catalog import Shelf
from papisim.cli._command import Command
from papisim.config.acceptance import SIGNALS_SCHEMA, load_signals
from papisim.config.citations import stale_citations
from papisim.config.engine import SCHEMA as ENGINE_SCHEMA
from papisim.config.engine import load_engine
from papisim.config.sections import SECTIONS, load_section
from papisim.config.system import DEVICE_SCHEMA, SYSTEM_SCHEMA, load_part, load_system
from papisim.config.yaml import load_yaml
from papisim.devices.pim.energy import SCHEMA as ENERGY_SCHEMA
from papisim.devices.pim.energy import load_energy
from papisim.devices.pim.timing import SCHEMA as DRAM_SCHEMA
from papisim.devices.pim.timing import load_timing
from papisim.errors import CheckFailed, DoesNotFit, InputError, InputErrors, did_you_mean, one_or_all
from papisim.exploration.file import SCHEMA as SWEEP_SCHEMA
from papisim.exploration.file import load_sweep
from papisim.kinds import outside
from papisim.kinds.families import family
from papisim.ops.trace import SCHEMA as TRACE_SCHEMA
from papisim.ops.trace import read_trace
from papisim.workloads.traces.public import SCHEMA as PUBLIC_SCHEMA
from papisim.workloads.traces.public import load_public


def _check_sweep(path: str) -> None:
    from papisim.exploration.preflight import check_space  # noqa: PLC0415 - only for these files; it loads the engine
    from papisim.exploration.run import points  # noqa: PLC0415

    found = load_sweep(path)
    check_space(found, points(found))


_READERS: dict[str, Callable[[str], object]] = {
    SYSTEM_SCHEMA: load_system,
    DEVICE_SCHEMA: load_part,
    ENERGY_SCHEMA: load_energy,
    DRAM_SCHEMA: load_timing,
    TRACE_SCHEMA: read_trace,
    SIGNALS_SCHEMA: load_signals,
    PUBLIC_SCHEMA: load_public,
    SWEEP_SCHEMA: _check_sweep,
    ENGINE_SCHEMA: load_engine,
    **{family(name).schema: partial(load_section, name) for name in SECTIONS},
}


@click.command(name="check", cls=Command)
@click.argument("files", nargs=-1, metavar="[FILE|CODE.py:CLASS]...")
@click.option("--strict", is_flag=True, help="Exit with status 1 where a citation was written for another value.")
def command(files: tuple[str, ...], *, strict: bool) -> None:
    """Check hardware, workload, trace and sweep files: fields, units, ranges, names, and a source for every number.

    A policy, device or other kind of your own, my.py:Mine, is checked against the laws of its family, which every kind
    of papisim keeps too.

    A number with the citation that a shipped part has for another value is told.

    Without FILE, everything that is shipped is checked. All problems are reported, each with its place.

    \b
    Example:
      papisim check mymachine.yaml
    """
    errors: list[InputError] = []
    broken = stale = 0
    for path in files or [str(path) for shelf in Shelf for path in catalog.shipped(shelf).values()]:
        try:
            if outside.is_reference(path):
                broken += _judge(path)
                continue
            _check(path)
        except InputErrors as several:
            errors += several.errors
        except InputError as error:
            errors.append(error)
        except DoesNotFit as error:
            errors.append(InputError(str(error), file=path))
        else:
            click.echo(f"{path}: right")
            stale += _tell_stale(path)
    if errors:
        raise one_or_all(errors)
    if broken:
        raise CheckFailed(f"{broken} laws do not hold")
    if strict and stale:
        raise CheckFailed(f"{stale} citations were written for other values")


def _tell_stale(path: str) -> int:
    """Print each number of a file whose citation is of another value; returns how many there are."""
    schema = None if Path(path).is_dir() else str(load_yaml(path).data.get("schema"))
    if schema is None or "sources" not in load_yaml(path).data:
        return 0
    found = list(stale_citations(path, schema))
    for each in found:
        click.echo(f"papisim: warning: {each}", err=True)
    return len(found)


def _judge(reference: str) -> int:
    """Print whether each law of its family holds for a kind from outside; returns how many do not."""
    from papisim.conformance.law import judge  # noqa: PLC0415 - only for code; it loads the engine

    reference = outside.absolute(reference, Path())
    with TemporaryDirectory() as folder:
        verdicts = judge(reference, Path(folder))
    for each in verdicts:
        click.echo(f"{reference}: {'right' if each.broken is None else 'WRONG'}: {each.claim}")
        if each.broken is not None:
            click.echo(f"    found: {each.broken}")
    return sum(each.broken is not None for each in verdicts)


def _check(path: str) -> None:
    if Path(path).is_dir():
        path = str(Path(path) / Shelf.TRACE.inner)
    document = load_yaml(path)
    schema = document.data.get("schema")
    reader = _READERS.get(str(schema))
    if reader is None:
        found = "field 'schema' is missing" if schema is None else f"found schema '{schema}'"
        raise document.error(("schema",), f"{found}; {did_you_mean(str(schema), _READERS)}")
    reader(path)
