"""``papisim calibrate``: turn models and measurements into parameters."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.table import Table

from papisim import catalog
from papisim.catalog import Shelf
from papisim.cli._options import PositiveInt, format_option, overrides_option, print_json, seed_option
from papisim.engine.alpha import AlphaFit, fit, profile
from papisim.errors import InputError
from papisim.ops.trace import read_trace
from papisim.policies.placement.papi import Options as PapiOptions
from papisim.report.console import console
from papisim.spec.system import load_system

#: the models of PAPI's evaluation (Section 7.1)
PAPER_MODELS = ("llama65b", "gpt3-66b", "gpt3-175b")


@click.group(name="calibrate")
def command() -> None:
    """Find parameters of the simulated machine."""


@command.command(name="alpha")
@click.option("--hw", default="papi", show_default=True, metavar="NAME|FILE", help="Machine whose placement is papi.")
@click.option("--trace", "traces", multiple=True, metavar="NAME|DIR|FILE", help="Models.  [default: all shipped]")
@click.option("--max-rows", type=PositiveInt(), default=256, show_default=True, help="Largest RLP·TLP to try.")
@overrides_option
@seed_option
@format_option("table", "json")
def alpha(
    *, hw: str, traces: tuple[str, ...], max_rows: int, overrides: tuple[str, ...], seed: int, output: str
) -> None:
    r"""Find the threshold α on RLP·TLP that follows the faster side of the machine best.

    FC of every model is priced on the processing units and on FC-PIM at RLP·TLP = 1 … --max-rows, as PAPI does offline; α is
    the threshold with the least mean slow-down against the faster side. The default, for models without an α of their
    own, is fitted to the models given together; without --trace, to the three of the paper's evaluation.

    \b
    Example:
      papisim calibrate alpha --hw papi --trace llama7b
    """
    system = load_system(hw, overrides)
    if system.placement.kind != "papi":
        raise InputError(f"{system.name} places FC by '{system.placement.kind}'; α belongs to placement kind 'papi'")
    names = traces or tuple(catalog.shipped(Shelf.TRACE))
    models = [read_trace(catalog.find(Shelf.TRACE, name).path) for name in names]
    profiles = [profile(system, model, max_rows, seed=seed) for model in models]
    result = fit(profiles, together=traces or PAPER_MODELS)
    if output == "json":
        print_json({"schema": "papisim/alpha/1", "system": system.name, **asdict(result)})
    else:
        _print(result, system.placement)


def _print(result: AlphaFit, shipped: PapiOptions) -> None:
    page = console()
    table = Table("model", "α", "slow-down", f"slow-down at {result.alpha}", "α in the file", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("default", str(result.alpha), "", "", f"{shipped.threshold('default'):g}")
    for name, own in result.models.items():
        table.add_row(
            name,
            str(own.alpha),
            f"{100 * own.slowdown_ratio:.2f} %",
            f"{100 * own.default_slowdown_ratio:.2f} %",
            f"{shipped.threshold(name):g}",
        )
    page.print(table)
    entries = {"default": result.alpha} | {name: own.alpha for name, own in result.models.items()}
    page.print(f"alpha: {{{', '.join(f'{name}: {alpha}' for name, alpha in entries.items())}}}", style="dim")
