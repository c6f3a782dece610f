"""``papisim list``: what is shipped and what kinds there are."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from papisim import catalog
from papisim.catalog import Shelf
from papisim.cli._command import Command
from papisim.cli._options import format_option, print_json
from papisim.config.yaml import load_yaml
from papisim.kinds.families import families
from papisim.ops.trace import KernelTrace, read_trace
from papisim.report.console.console import console

_SHELVES = {
    "systems": Shelf.SYSTEM,
    "devices": Shelf.DEVICE,
    "energy": Shelf.ENERGY,
    "dram": Shelf.DRAM,
    "traces": Shelf.TRACE,
    "heads": Shelf.HEAD,
    "workloads": Shelf.REQUESTS,
    "public-traces": Shelf.PUBLIC,
    "acceptance": Shelf.ACCEPTANCE,
    "signals": Shelf.SIGNALS,
    "batching": Shelf.BATCHING,
    "speculation": Shelf.SPECULATION,
    "drafting": Shelf.DRAFTING,
    "engines": Shelf.ENGINE,
}
_CHOICES = [*_SHELVES, "kinds"]


@click.command(name="list", cls=Command)
@click.argument("what", type=click.Choice(_CHOICES), required=False)
@format_option("table", "json")
def command(what: str | None, output: str) -> None:
    """List what is shipped, by the option that takes it, and the kinds a file can name.

    \b
    Example:
      papisim list systems
    """
    listing = {name: _entries(name) for name in ([what] if what else _CHOICES)}
    if output == "json":
        print_json({"schema": "papisim/list/1", **listing})
        return
    page = console()
    for title, entries in listing.items():
        table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        for name, text in entries.items():
            table.add_row(name, text)
        page.print(table)


def _entries(what: str) -> dict[str, str]:
    if what == "kinds":
        return {each.plural: ", ".join(each.names()) for each in families()}
    shelf = _SHELVES[what]
    if shelf in (Shelf.TRACE, Shelf.HEAD):
        return {name: _describe_trace(path) for name, path in catalog.shipped(shelf).items()}
    return {name: _describe(load_yaml(path).data) for name, path in catalog.shipped(shelf).items()}


def _describe(data: dict[str, str]) -> str:
    return f"another name for {data['alias_of']}" if "alias_of" in data else data["description"]


def _memory_of(trace: KernelTrace) -> str:
    """Name the kinds of caches and states of a model, where they are not all full caches."""
    kinds = {shape.kind: None for block in trace.blocks for shape in block.attention}
    kinds |= {"states": None} if trace.has_states else {}
    return "" if set(kinds) <= {"full"} else f" ({'; '.join(kinds)})"


def _describe_trace(path: Path) -> str:
    trace = read_trace(path)
    model, kinds = trace.model, _memory_of(trace)
    experts = f", {model.n_experts} experts, {model.n_experts_per_token} a token" if model.n_experts else ""
    groups = f" ({model.n_kv_heads} of K and V)" if model.n_kv_heads != model.n_heads else ""
    return (
        f"{model.n_parameters / 1e9:.1f} G parameters, {model.n_layers} layers, hidden {model.hidden_size}, "
        f"{f'{model.n_heads} heads{groups}' if model.n_heads else 'no attention'}{kinds}{experts}, {model.dtype}"
    )
