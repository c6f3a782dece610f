"""``papisim calibrate``: turn models and measurements into parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from papisim import catalog, units
from papisim.calibration.alpha import ROWS, AlphaFit, fit, profile, write_system
from papisim.calibration.speculation import BATCHES, CACHED, MOST_DRAFTED, Profile, speculator_of
from papisim.calibration.speculation import profile as profile_speculation
from papisim.catalog import Shelf
from papisim.cli import _thresholds
from papisim.cli._command import Commands
from papisim.cli._options import (
    PositiveInt,
    format_option,
    overrides_option,
    print_json,
    run_option,
    seed_option,
    show_notes,
    trace_option,
)
from papisim.config.engine import NONE, load_equipped
from papisim.config.experiment import load_experiment, options_of
from papisim.config.system import load_part
from papisim.config.yaml import load_yaml
from papisim.errors import InputError
from papisim.ops.trace import read_trace
from papisim.policies.placement.papi import Options as PapiOptions
from papisim.policies.speculation.base import Draft
from papisim.report.console.console import console
from papisim.results.store import check_file, write_file
from papisim.validation.served import Simulator

if TYPE_CHECKING:
    from papisim.calibration.gpu.calibrate import Calibration

#: the models of PAPI's evaluation (Section 7.1)
PAPER_MODELS = ("llama65b", "gpt3-66b", "gpt3-175b")


@click.group(name="calibrate", cls=Commands)
def command() -> None:
    """Find parameters of the simulated machine."""


command.add_command(_thresholds.command)


@command.command(name="alpha")
@click.option("--hw", default="papi", show_default=True, metavar="NAME|FILE", help="Machine whose placement is papi.")
@click.option("--trace", "traces", multiple=True, metavar="NAME|DIR|FILE", help="Models.  [default: all shipped]")
@run_option("engine")
@click.option("--max-rows", type=PositiveInt(), default=ROWS, show_default=True, help="Largest RLP·TLP to try.")
@overrides_option
@seed_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the machine's file with the α of each model.",
)
@click.option("--force", is_flag=True, help="Replace the file in --out.")
@format_option("table", "json")
def alpha(
    *,
    hw: str,
    traces: tuple[str, ...],
    max_rows: int,
    overrides: tuple[str, ...],
    seed: int,
    out: Path | None,
    force: bool,
    output: str,
    **options: str,
) -> None:
    """Find the threshold α on RLP·TLP that follows the faster side of the machine best.

    FC of every model is priced on the processing units and on FC-PIM at RLP·TLP = 1 … --max-rows, as PAPI does offline; α is
    the threshold with the least mean slow-down against the faster side. The default, for models without an α of their
    own, is fitted to the models given together; without --trace, to the three of the paper's evaluation.

    The file in --out has 'alpha: auto' and the α of each model with a stamp of the machine and the model: a run takes the α whose stamp
    fits, and calibrates where none does. Its α are those of RLP·TLP up to 256, and further where FC-PIM is still the faster side there.

    \b
    Example:
      papisim calibrate alpha --hw papi --trace llama7b
      papisim calibrate alpha --hw my_system.yaml --out my_calibrated_system.yaml
    """
    if out is not None:
        check_file(out, force=force)
        if overrides:
            raise click.UsageError("--out writes the file in --hw as it is; change the fields there, not by --set")
    system, chosen = load_equipped(hw, options["engine"], overrides)
    show_notes((*system.notes, *chosen.notes), quiet=False)
    if system.placement.kind != "papi":
        hint = "; 'papisim calibrate operators' finds thresholds" if system.placement.kind == "papi_operators" else ""
        raise InputError(
            f"{system.name} places FC by '{system.placement.kind}'; α belongs to placement kind 'papi'{hint}"
        )
    names = traces or tuple(catalog.shipped(Shelf.TRACE))
    models = [read_trace(catalog.find(Shelf.TRACE, name).path) for name in names]
    profiles = [profile(system, model, max_rows, seed=seed, engine=chosen.spec) for model in models]
    result = fit(profiles, together=traces or PAPER_MODELS)
    if output == "json":
        print_json({"schema": "papisim/alpha/1", "system": system.name, "engine": chosen.spec.name, **asdict(result)})
    else:
        console().print(f"{system.name} · engine {chosen.spec.name}")
        _print(result, system.placement)
    if out is not None:
        document = load_yaml(catalog.find(Shelf.SYSTEM, hw).path).data
        asked = "papisim calibrate alpha" + ("" if chosen.spec.name == NONE else f" --engine {chosen.spec.name}")
        write_file(out, write_system(document, system, models, asked, chosen.spec), force=force)
        click.echo(f"papisim: wrote {out}", err=True)


@command.command(name="gpu")
@click.option("--hw", "device", required=True, metavar="NAME|FILE", help="GPU part whose values are the start.")
@click.option(
    "--tables",
    "folders",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with measured tables; may be repeated.",
)
@click.option(
    "--gpu", "measured_on", metavar="NAME", help="What the tables call the GPU.  [default: the part's name]"
)
@click.option("--hold-out", is_flag=True, help="Fit again without each model of the tables, to be judged on it.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the part with the fitted values.")
@click.option("--force", is_flag=True, help="Replace the file in --out.")
@format_option("table", "json")
def gpu(
    *, device: str, folders: tuple[Path, ...], measured_on: str | None, hold_out: bool, out: Path | None, force: bool,
    output: str,
) -> None:  # fmt: skip
    """Fit a GPU's parameters to measured tables and print how far off the fit is.

    Tables are known by their columns: those of kernels/, vidur, aiconfigurator and Frontier. Each library of the part is
    fitted to the tables that its measured_as names. Needs the extra: pip install 'papisim[calibrate]'.

    \b
    Example:
      papisim calibrate gpu --hw h200 --tables kernels/measured --out my_h200.yaml
    """
    if out is not None and not force:
        for path in (out, *sorted(out.parent.glob(f"{out.stem}.*.csv"))):  # a part's corrections lie beside it
            if path.exists():
                raise InputError("exists already; --force overwrites it", file=str(path))
    from papisim.calibration.gpu.calibrate import calibrate  # noqa: PLC0415 - pandas
    from papisim.calibration.gpu.part_file import write_corrections, write_part  # noqa: PLC0415
    from papisim.calibration.gpu.tables import read_tables  # noqa: PLC0415

    part, name = load_part(device), measured_on or catalog.find(Shelf.DEVICE, device).name
    if part.part.kind != "gpu":
        raise InputError(f"is a {part.part.kind}, expected a gpu", file=device)
    found = list(calibrate(part.part, name, read_tables(folders, [name]), hold_out=hold_out))
    if not found:
        raise InputError(f"holds no table of {name} and its libraries", file=str(folders[0]))
    if output == "json":
        print_json({"schema": "papisim/gpu-calibration/1", "fits": [each.as_json() for each in found]})
    else:
        _print_fits(found)
    if out is not None:
        document = load_yaml(catalog.find(Shelf.DEVICE, device).path).data
        out.write_text(write_part(document, found, write_corrections(out, found)), encoding="utf-8")
        click.echo(f"papisim: wrote {out}", err=True)


@command.command(name="engine")
@click.argument("log", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--profile",
    default="vllm",
    show_default=True,
    metavar="NAME|FILE",
    help="Engine profile that the fit starts from.",
)
@click.option("--hw", metavar="NAME|FILE", help="Machine.  [default: one GPU of the kind measured]")
@click.option(
    "--trace", metavar="NAME|DIR|FILE", help="Kernel trace.  [default: the name of the engine before _sync, _async]"
)
@click.option("--gpu", metavar="NAME", help="The only GPU of the logs to use, where they are of several.")
@overrides_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the fitted profile.")
@click.option("--force", is_flag=True, help="Replace the file in --out.")
@format_option("table", "json")
def engine(
    *, log: Path, profile: str, hw: str | None, trace: str | None, gpu: str | None, overrides: tuple[str, ...],
    out: Path | None, force: bool, output: str,
) -> None:  # fmt: skip
    """Fit an engine profile to the logs of scripts/measure-engine and print what the fit explains.

    The host's times per step, request, prompt token and launch are fitted to steady synchronous steps; for each part of the kernels,
    the factor between busy times and those of the libraries. Errors are given before the fit, after it, and for compositions that
    were left out. The profile in --out has the factors that bring the latter closer.

    \b
    Example:
      papisim calibrate engine logs --gpu h100 --out my_vllm.yaml
    """
    from papisim.cli._engine_fit import Output, calibrate_engine  # noqa: PLC0415 - pandas

    calibrate_engine(log, gpu, Simulator(hw, trace, profile, overrides), Output(output, out, force))


def _print_fits(found: Sequence[Calibration]) -> None:
    table = Table("fit", "rows", "kernels", "mean |error|", "95 % within", "bias", box=None)
    for each in found:
        for rows, errors in each.errors.items():
            shown = f"{errors.mape:.1%}", f"{errors.p95:.1%}", f"{errors.bias:+.1%}"
            table.add_row(".".join(each.path), rows, f"{errors.n:,}", *shown)
    console().print(table)


def _print(result: AlphaFit, shipped: PapiOptions) -> None:
    page = console()
    table = Table("model", "α", "slow-down", f"slow-down at {result.alpha}", "α in the file", box=None)
    for column in table.columns[1:]:
        column.justify = "right"

    def found(alpha: int) -> str:
        return f"{'≥ ' if alpha == result.max_rows else ''}{alpha}"

    table.add_row("default", found(result.alpha), "", "", _in_file(shipped, "default"))
    for name, own in result.models.items():
        table.add_row(
            name,
            found(own.alpha),
            f"{100 * own.slowdown_ratio:.2f} %",
            f"{100 * own.default_slowdown_ratio:.2f} %",
            _in_file(shipped, name),
        )
    page.print(table)


def _in_file(shipped: PapiOptions, model: str) -> str:
    """Return the α that a machine's file has for a model, as it is given or by its name."""
    if shipped.alpha != "auto":
        return f"{shipped.for_model(model).alpha:g}"
    own = shipped.calibrated.get(model)
    return "auto" if own is None else f"{own.alpha:g}"


@command.command(name="speculation")
@run_option("hw")
@trace_option
@run_option("engine")
@run_option("draft")
@run_option("acceptance")
@click.option(
    "--batch", "batches", type=PositiveInt(), multiple=True, help="Batch to profile.  [default: 1, 2, 4, … 64]"
)
@click.option(
    "--max-draft", type=PositiveInt(), default=MOST_DRAFTED, show_default=True, help="Longest draft to try."
)
@click.option(
    "--kv", "kv_tokens", type=PositiveInt(), default=CACHED, show_default=True, help="Tokens in each cache."
)
@click.option("--exit-layer", type=PositiveInt(), help="Layer that drafts, for --draft early_exit.")
@run_option("set")
@seed_option
@format_option("table", "json")
def speculation(
    *,
    batches: tuple[int, ...],
    max_draft: int,
    kv_tokens: int,
    exit_layer: int | None,
    output: str,
    **options: object,
) -> None:
    """Find Synergy's table, the best draft length for each batch, on the simulated machine.

    An iteration of every batch and length is priced as in a run, and divided by the tokens that the acceptance process is
    expected to emit. The length with the least seconds per token is s*(b).

    \b
    Example:
      papisim calibrate speculation --hw papi --trace llama3-70b --draft eagle_head --acceptance meta_70b
    """
    experiment = load_experiment(options_of(**options))
    show_notes(experiment.notes, quiet=False)
    found = profile_speculation(
        speculator_of(experiment),
        batches or BATCHES,
        range(max_draft + 1),
        kv_tokens,
        lambda length: Draft(length, exit_layer=exit_layer),
    )
    if output == "json":
        print_json(_as_json(found, experiment.system.name))
    else:
        _print_table(found)


def _as_json(found: Profile, system: str) -> dict[str, object]:
    points = [
        {
            "batch": point.batch,
            "length": point.length,
            "round_s": point.round_s,
            "emitted": point.emitted,
            "token_s": point.token_s,
        }
        for point in found.points
    ]
    table = [row.model_dump() for row in found.table()]
    return {"schema": "papisim/speculation-profile/1", "system": system, "table": table, "points": points}


def _print_table(found: Profile) -> None:
    page = console()
    table = Table("batch", "drafts s*", "RLP·TLP", "emitted", "iteration", "tokens/s", "over none", box=None)
    for column in table.columns:
        column.justify = "right"
    for row in found.table():
        point = found.at(row.up_to_batch, row.length)
        table.add_row(
            str(point.batch),
            str(point.length),
            str(point.batch * (point.length + 1)),
            f"{point.emitted:.2f}",
            units.format(point.round_s, "s", 3),
            f"{point.tokens_per_s:,.0f}",
            f"{found.speed_up(point.batch):.2f}×",
        )
    page.print(table)
    rows = ", ".join(f"{{up_to_batch: {row.up_to_batch}, length: {row.length}}}" for row in found.table())
    page.print(f"--set 'speculation={{kind: synergy, table: [{rows}]}}'", style="dim", soft_wrap=True)
