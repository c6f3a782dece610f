"""``papisim describe``: what a machine or a part is, before any run."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Table

from papisim import units
from papisim.cli._command import Command
from papisim.cli._options import overrides_option, print_json, show_notes, table_format_option
from papisim.config.tuning import told
from papisim.pricing.hardware import Hardware, Shares


@click.command(name="describe", cls=Command)
@click.argument("hw", metavar="NAME|FILE")
@click.option(
    "--trace", "traces", multiple=True, metavar="NAME|DIR|FILE",
    help="Model whose room and tuned values, α among them, are shown; may be repeated.",
)  # fmt: skip
@overrides_option
@table_format_option("table", "json")
def command(*, hw: str, traces: tuple[str, ...], overrides: tuple[str, ...], output: str) -> None:
    """Describe a machine or a part: area, power, memory, peaks, ridge, and how ranks share a model.

    With --trace, also the room for KV caches beside each model's weights, and the values that belong to the machine and the
    model, such as α.

    \b
    Example:
      papisim describe papi --trace llama65b --trace gpt3-175b
      papisim describe fc_pim --set fpu.fpus=2
    """
    from papisim.api.hardware import describe  # noqa: PLC0415 - start-up time

    found = describe(hw, traces=traces, overrides=overrides)
    show_notes(found.notes, quiet=False)
    if output == "json":
        print_json(found.as_json())
    else:
        _print(found)


def _print(found: Hardware) -> None:
    from papisim.report.console.console import console  # noqa: PLC0415 - start-up time

    page = console()
    page.print(f"{found.name}: {found.description}", soft_wrap=True)
    for chain in found.extends:
        page.print(f"extends {chain}", soft_wrap=True)
    for title, table in (
        ("Devices", _devices(found)),
        ("Units", _units(found)),
        ("Links", _links(found)),
        ("Models", _models(found)),
    ):
        if table.row_count:
            page.print(f"\n{title}", style="bold")
            page.print(table)
    page.print()
    for line in _totals(found):
        page.print(line, soft_wrap=True)


def _devices(found: Hardware) -> Table:
    heads = "device", "kind", "count", "memory", "bandwidth", "peak", "ridge", "static", "budget", "die area", "area"
    table = _table(*heads, left=2)
    for each in found.devices:
        ridge = units.NO_VALUE if each.ridge_flop_per_byte is None else f"{each.ridge_flop_per_byte:.4g} FLOP/B"
        table.add_row(
            each.name,
            each.kind,
            str(each.count),
            units.format(each.capacity_bytes, "bytes"),
            units.format(each.bandwidth_bytes_per_s, "bytes_per_s"),
            units.format(each.peak_flop_per_s, "flop_per_s"),
            ridge,
            units.format(each.static_w, "w"),
            units.format(each.budget_w, "w"),
            units.format(each.die_area_mm2, "mm2"),
            units.format(each.area_mm2, "mm2"),
        )
    return table


def _units(found: Hardware) -> Table:
    table = _table("device", "level", "units", "each", "together", "node", left=2)
    for device in found.devices:
        for each in device.units:
            node = units.NO_VALUE if each.node_nm is None else f"{each.node_nm:g} nm"
            table.add_row(
                device.name,
                each.level,
                f"{each.units:g}",
                units.format(each.unit_mm2, "mm2"),
                units.format(each.area_mm2, "mm2"),
                node,
            )
    return table


def _links(found: Hardware) -> Table:
    table = _table("link", "count", "bandwidth", "latency", left=1)
    for each in found.links:
        rate, latency = units.format(each.bandwidth_bytes_per_s, "bytes_per_s"), units.format(each.latency_s, "s")
        table.add_row(each.name, str(each.count), rate, latency)
    return table


def _models(found: Hardware) -> Table:
    table = _table("model", "weights", "room for KV caches", "tokens", "tuned", left=1)
    for each in found.models:
        fits = each.kv_capacity_bytes is not None
        tuned = [f"{field} {told(value)} ({each.origins[field]})" for field, value in each.tuned.items()]
        table.add_row(
            each.trace,
            units.format(each.weight_bytes, "bytes"),
            units.format(each.kv_capacity_bytes, "bytes") if fits else "does not fit",
            units.NO_VALUE if each.kv_tokens is None else f"{each.kv_tokens:,.0f}",
            "; ".join(tuned) or units.NO_VALUE,
        )
    return table


def _table(*heads: str, left: int) -> Table:
    """Return a table whose first columns are aligned left."""
    table = Table(*heads, box=None)
    for column in table.columns[left:]:
        column.justify = "right"
    return table


def _totals(found: Hardware) -> Iterator[str]:
    if found.parallel is not None:
        yield f"placement  {found.placement}"
        yield f"ranks      {_ranks(found.parallel)}"
        area = f", PIM banks and FPUs {units.format(found.pim_area_mm2, 'mm2')}" if found.pim_area_mm2 else ""
        memory, power = units.format(found.capacity_bytes, "bytes"), units.format(found.static_w, "w")
        yield f"together   {memory}, {power} static{area}"
    yield from (f"area       {each}" for each in found.area_sources)
    yield f"sources    {found.n_sources}, of which {found.n_assumptions} assumptions"


def _ranks(shares: Shares) -> str:
    named = {
        "of tensor parallelism": shares.tensor_ranks,
        "stages": shares.stages,
        "attention groups": shares.data_ranks,
        "of context parallelism": shares.context_ranks,
        "of expert parallelism": shares.expert_ranks,
    }
    return ", ".join(f"{n} {what}" for what, n in named.items() if n > 1) or "1"
