"""``papisim price``: what does one kernel, or a table of them, cost on one device."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from papisim import foreign, units
from papisim.api.kernel_sizes import OPERATIONS, SIZES, STEP, kernel_of
from papisim.api.kernels import (
    default_engine,
    is_step_of_machine,
    iteration_of,
    machine_experiment,
    priced,
    priced_on_machine,
)
from papisim.cli._command import Command
from papisim.cli._options import F, PositiveInt, format_option, print_json, quiet_option, run_option, show_notes
from papisim.config.engine import EngineSpec, load_equipped_part
from papisim.devices.base import DevicePool
from papisim.devices.pim.traces import FORMATS
from papisim.errors import InputError, as_cell, did_you_mean
from papisim.ops.kernel import Kernel
from papisim.pricing.kernel import pool_of
from papisim.results.schema import Figures
from papisim.results.store import open_file

_OPERATIONS = list(OPERATIONS)

#: sizes and whether each was given, and the figures of a price by name
Sizes = Mapping[str, int | None]


def _size(name: str, text: str) -> Callable[[F], F]:
    return click.option(f"--{name.replace('_', '-')}", type=PositiveInt(), help=text)


@click.command(name="price", cls=Command)
@click.option(
    "--hw",
    "device",
    required=True,
    metavar="NAME|FILE",
    help="Device part, or machine for --op step: a shipped name or a path.",
)
@click.option("--op", type=click.Choice(_OPERATIONS), help="The kernel's operation, or a whole decode iteration.")
@_size("heads_per_stack", "Attention: (request, KV head) pairs on each device.")
@_size("kv", "Attention: cached tokens of each pair.")
@_size("tlp", "Attention: query tokens of each request.  [default: 1]")
@_size("dhead", "Attention: width of a head.  [default: 128]")
@_size("group", "Attention: query heads that share a KV head.  [default: 1]")
@_size("m", "Linear: token-rows.")
@_size("k", "Linear: inputs.")
@_size("n", "Linear: outputs.")
@_size("weight_bits", "Linear: of a weight, 16, 8 or 4.  [default: 16]")
@_size("activation_bits", "Linear on a GPU: of an input, 16 or 8.  [default: 16]")
@_size("kv_bits", "Attention: of an element of the cache, 16, 8 or 4.  [default: 16]")
@_size("batch_size", "Attention and prefill of a batch: requests.")
@_size("heads", "Attention and prefill of a batch: query heads.")
@_size("kv_heads", "Attention and prefill of a batch: heads of the cache.  [default: --heads]")
@_size("tokens", "Prefill: tokens of each prompt.")
@_size("rlp", "Step: requests.")
@click.option("--trace", metavar="NAME|DIR|FILE", help="Step: kernel trace, a shipped name or a path.")
@click.option("--library", metavar="NAME", help="Kernel library of a GPU, if not the one that its part uses.")
@run_option(
    "engine", default=None, show_default=False, help="Engine profile; if not named, 'eager' for a step of a part."
)
@click.option("--count", type=PositiveInt(), default=1, show_default=True, help="Devices that share the kernel.")
@click.option(
    "--batch", "table", type=click.Path(path_type=Path), metavar="FILE.csv", help="Price a table of kernels."
)
@click.option("--commands", type=click.Path(path_type=Path), metavar="FILE", help="Write the DRAM command stream.")
@click.option(
    "--commands-format",
    "form",
    type=click.Choice(("papisim", *FORMATS)),
    default="papisim",
    show_default=True,
    help="Of --commands: issued commands with their cycles, or what AttAcc's Ramulator 2 or the AiM simulator reads.",
)
@click.option("--force", is_flag=True, help="Replace the file of --commands.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a field of the device or the machine; may be repeated.",
)
@format_option("table", "json")
@quiet_option
def command(
    *, device: str, op: str | None, count: int, table: Path | None, commands: Path | None, form: str, force: bool,
    trace: str | None, library: str | None, engine: str | None, overrides: tuple[str, ...], output: str, quiet: bool, **sizes: int | None,
) -> None:  # fmt: skip
    """Print what one kernel costs on one device: time, what binds it, energy by part, power, traffic.

    A step of a machine is the decode iteration that a run simulates, with its time by part.

    With --batch, price every row of a CSV file whose columns are named as the options (op, heads_per_stack, kv, tlp,
    dhead, group, kv_bits, weight_bits, activation_bits, batch_size, heads, kv_heads, tokens, m, k, n, trace, rlp, library) and write it back with time_s, cycles
    and energy_j added. On a GPU whose energy is measured at the board, energy_j holds what it draws idle, too.

    \b
    Example:
      papisim price --hw attn_pim --op attention --heads-per-stack 16 --kv 2048 --tlp 4
      papisim price --hw h200 --op step --trace llama7b --rlp 16 --tlp 2 --kv 512
      papisim price --hw papi --op step --trace llama65b --rlp 16 --kv 512
    """
    if is_step_of_machine(device, op):
        refused = {"library": library, "batch": table, "commands": commands, "count": count if count > 1 else None}
        _refuse_for_machine(device, refused)
        with _naming_options():
            point, model = iteration_of(sizes, trace)
        experiment = machine_experiment(device, point, model, engine, overrides)
        show_notes(experiment.notes, quiet=quiet)
        _print_machine_step(priced_on_machine(experiment, point), output)
        return
    is_step = op == STEP or table is not None
    equipped = load_equipped_part(device, engine or default_engine(STEP if is_step else op), overrides)
    show_notes(equipped.device.notes, quiet=quiet)
    pool = pool_of(equipped.device, count)
    if library is not None:
        pool = pool.with_library(library)
    if table is not None:
        _refuse_with_table(op, commands, sizes | {"trace": trace})
        _price_table(pool, table, equipped.engine)
    elif op is None:
        raise click.UsageError("give --op with its sizes, or --batch FILE.csv")
    else:
        with _naming_options():
            figures = priced(pool, op, sizes, trace, equipped.engine)
        if commands is not None:
            _write_commands(pool, kernel_of(op, sizes, count), commands, form, force=force, quiet=quiet)
        (_print_step if op == STEP else _print)(figures, output)


def _refuse_for_machine(machine: str, options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise click.UsageError(f"--{name} is for a device part, and {machine} is a machine")


def _print_machine_step(step: Figures, output: str) -> None:
    if output == "json":
        print_json(step)
        return
    click.echo(f"decode iteration of {step['trace']} on {step['machine']}, engine {step['engine']}")
    for name in ("time_s", "energy_j", "n_launches"):
        click.echo(f"  {name:<22} {_shown(name, step[name])}")
    for part in step["parts"]:
        click.echo(f"    {part['part']:<20} {units.format(part['time_s'], 's'):>12}")
    for note in step["engine_notes"]:
        click.echo(f"  {note}")


@contextmanager
def _naming_options() -> Iterator[None]:
    """Name the option in errors about a size."""
    try:
        yield
    except InputError as error:
        option = f"--{(error.place.field or '').replace('_', '-')}"
        raise InputError(error.message, file=option) from None


def _print_step(step: Figures, output: str) -> None:
    if output == "json":
        print_json(step)
        return
    click.echo(f"decode iteration of {step['trace']} on {step['count']} × {step['device']}, engine {step['engine']}")
    for name, value in step.items():
        if name not in ("schema", "device", "count", "trace", "engine", "classes") and value != []:
            click.echo(f"  {name:<22} {_shown(name, value)}")
    for row in step["classes"]:
        shown = f"{row['n_kernels']:>6,} kernels  {units.format(row['time_s'], 's'):>12}"
        click.echo(f"    {row['kernel_class']:<20} {shown}  {units.format(row['energy_j'], 'j'):>12}")


def _refuse_with_table(op: str | None, commands: Path | None, sizes: Mapping[str, int | str | None]) -> None:
    given = [name for name, size in sizes.items() if size is not None]
    given += ["op"] if op else []
    given += ["commands"] if commands else []
    if given:
        raise click.UsageError(
            f"--{given[0].replace('_', '-')} does not go with --batch, whose file says it for each kernel"
        )


def _write_commands(pool: DevicePool, kernel: Kernel, path: Path, form: str, *, force: bool, quiet: bool) -> None:
    try:
        with open_file(path, force=force) as file:
            count, cycles = pool.write_commands(kernel, file, form)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(path)) from None
    if not quiet:
        click.echo(
            f"papisim: note: {count:,} lines of commands of the busiest channel in {path}; done at cycle {cycles:,}",
            err=True,
        )


def _price_table(pool: DevicePool, path: Path, engine: EngineSpec) -> None:
    """Price each row of a CSV file and write the file back to stdout with the results added."""
    rows = _read_table(path)
    added = [_priced_row(pool, row, str(path), line, engine) for line, row in rows]
    columns = list(dict.fromkeys([*rows[0][1], "time_s", "cycles", "energy_j"]))
    writer = csv.DictWriter(sys.stdout, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: as_cell(value) for name, value in row.items()} for row in added)


def _read_table(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with io.TextIOWrapper(foreign.open_file(path), newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read as CSV: {error}"
        raise InputError(reason, file=str(path)) from None
    if not rows:
        raise InputError("holds no kernels, expected a header and a row for each", file=str(path))
    odd = next((line for line, row in rows if None in row or None in row.values()), None)
    if odd is not None:
        raise InputError(f"expected {len(columns)} cells, as the header has", file=str(path), line=odd)
    if "op" not in columns:
        raise InputError(f"no column 'op'; {did_you_mean('op', columns)}", file=str(path), line=1)
    return rows


def _priced_row(pool: DevicePool, row: dict[str, str], file: str, line: int, engine: EngineSpec) -> dict[str, object]:
    try:
        op = (row["op"] or "").strip()
        if op not in _OPERATIONS:
            raise InputError(f"found '{op}'; {did_you_mean(op, _OPERATIONS)}", field="op")
        library = (row.get("library") or "").strip()
        pool = pool.with_library(library) if library else pool
        names = OPERATIONS[STEP] if op == STEP else SIZES
        sizes = {name: _whole(name, row[name]) for name in names if (row.get(name) or "").strip()}
        found = priced(pool, op, sizes, row.get("trace"), engine)
    except InputError as error:
        raise InputError(error.message, file=file, line=line, field=error.place.field) from None
    return {**row, "time_s": found["time_s"], "cycles": found.get("cycles"), "energy_j": found["energy_j"]}


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"found '{text}', expected a whole number", field=name) from None


def _print(priced: Figures, output: str) -> None:
    if output == "json":
        print_json(priced)
        return
    click.echo(f"{priced['op']} on {priced['count']} × {priced['device']}")
    for name, value in priced.items():
        if name == "energy":
            for part, joules in value.items():
                if joules:
                    share = f"({joules / priced['energy_j']:.1%})"
                    click.echo(f"    {part.removesuffix('_j'):<20} {units.format(joules, 'j')}  {share}")
        elif value is not None and name not in ("schema", "device", "count", "op", *SIZES):
            click.echo(f"  {name:<22} {_shown(name, value)}")


def _shown(name: str, value: object) -> str:
    unit = "w" if name.startswith("power_w") else units.unit_of(name)
    if unit is not None and isinstance(value, int | float):
        return units.format(value, unit)
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)
