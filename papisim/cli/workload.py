"""``papisim workload``: look into request traces, and get the public ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.table import Table

from papisim import catalog, units
from papisim.catalog import Shelf, cache_folder
from papisim.cli._command import Commands
from papisim.cli._numbers import Number
from papisim.cli._options import format_option, overrides_option, print_json, quiet_option, seed_option, show_notes
from papisim.config.sections import load_section
from papisim.config.sources import bibliography
from papisim.report.console.console import bars, console
from papisim.workloads import replay
from papisim.workloads.base import WORKLOAD
from papisim.workloads.describe import Description, describe, tabulate
from papisim.workloads.traces.fetch import Fetched, Progress, fetch
from papisim.workloads.traces.public import PublicTrace, load_public

_TPOT_MS = 50.0
_BLOCK_TOKENS = 512  # as in Mooncake's traces


@click.group(name="workload", cls=Commands)
def command() -> None:
    """Look into request traces and workloads, and get the public ones."""


@command.command(name="inspect")
@click.argument("workload", metavar="NAME|FILE")
@click.option(
    "--tpot-ms",
    type=Number(1e-6, 1e9),
    default=_TPOT_MS,
    show_default=True,
    help="Time per output token to count requests at once with.",
)
@click.option(
    "--block-tokens",
    type=click.IntRange(1),
    default=_BLOCK_TOKENS,
    show_default=True,
    help="Tokens of a block to count what prompts have in common with.",
)
@overrides_option
@seed_option
@quiet_option
@format_option("table", "json")
def inspect(
    *,
    workload: str,
    tpot_ms: float,
    block_tokens: int,
    overrides: tuple[str, ...],
    seed: int,
    quiet: bool,
    output: str,
) -> None:
    """Show what is in a request trace or a workload: rates, burstiness, lengths, and how many requests there are at once.

    A file that holds text needs a way to count its tokens: --set workload.chars_per_token=4 or --set
    workload.tokenizer=tokenizer.json.

    \b
    Example:
      papisim workload inspect creative_writing
    """
    section = load_section("workload", workload, overrides)
    show_notes(section.notes, quiet=quiet)
    if isinstance(section.options, replay.Options):
        table = replay.select(section.options, seed)
    else:
        source = WORKLOAD.build(section.options, seed)
        table = tabulate(source, section.kind)
    figures = describe(table, tpot_ms / 1000, block_tokens)
    if output == "json":
        print_json(
            {"schema": "papisim/workload/1", "workload": section.name, "kind": section.kind, "format": table.format}
            | figures
        )
    else:
        _print(f"{section.name} · {section.kind}{f' · {table.format}' if section.kind == 'replay' else ''}", figures)


def _print(title: str, figures: Description) -> None:
    page = console()
    page.print(title, style="bold")
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="cyan", no_wrap=True)
    facts.add_column()
    for label, text in _facts(figures):
        facts.add_row(label, text)
    page.print(facts)
    columns = [name for name in figures["input_tokens"] if name != "sum"]
    lengths = Table("tokens", *columns, box=None, pad_edge=False)
    lengths.columns[0].style = "cyan"
    for column in lengths.columns[1:]:
        column.justify = "right"
    for label, tokens in (("input", figures["input_tokens"]), ("output", figures["output_tokens"])):
        lengths.add_row(label, *(f"{tokens[column]:,.0f}" for column in columns))
    page.print(lengths)


def _facts(figures: Description) -> Iterator[tuple[str, str]]:
    dropped = "".join(f", {count:,} {reason} left out" for reason, count in figures["dropped"].items())
    yield "requests", f"{figures['n_requests']:,}{dropped}"
    tokens = (figures["input_tokens"]["sum"], figures["output_tokens"]["sum"])
    yield "tokens", f"{tokens[0]:,} in, {tokens[1]:,} out; longest request {figures['longest_tokens']:,}"
    rho = figures["rank_correlation"]
    yield "input and output", "do not vary together" if rho is None else f"rank correlation {rho:.2f}"
    prefixes = figures["prefixes"]
    if prefixes is not None:
        yield (
            "prefixes",
            f"{prefixes['repeated_blocks']:,} of {prefixes['blocks']:,} blocks of {prefixes['block_tokens']} tokens repeat an earlier "
            f"prompt's ({units.format(prefixes['repeated_block_ratio'], 'ratio', 2)}; of the tokens "
            f"{units.format(prefixes['repeated_token_ratio'], 'ratio', 2)})",
        )
    arrivals = figures["arrivals"]
    if arrivals is None:
        yield "arrivals", "none of its own"
    elif "rate_per_s" not in arrivals:
        yield "arrivals", "all at once"
    else:
        yield "rate", f"{arrivals['rate_per_s']:.4g} requests/s over {units.format(arrivals['duration_s'], 's')}"
        yield "", f"{arrivals['input_tokens_per_s']:,.0f} tokens/s in, {arrivals['output_tokens_per_s']:,.0f} out"
        at_once = (
            f"; {units.format(arrivals['zero_gap_ratio'], 'ratio', 2)} are 0" if arrivals["zero_gap_ratio"] else ""
        )
        yield "gaps", f"coefficient of variation {arrivals['gap_cv']:.2f} (a Poisson process has 1){at_once}"
        rates = arrivals["rate_over_time_per_s"]
        yield (
            "rate over time",
            f"{bars(rates)} {min(rates):.3g} to {max(rates):.3g} in {units.format(arrivals['bin_s'], 's')}",
        )
        tpot = units.format(arrivals["tpot_s"], "s")
        yield "at once", f"{arrivals['peak_concurrency']:,} at most, were every output token to take {tpot}"


@command.command(name="fetch")
@click.argument("name", required=False)
@click.option("--url", metavar="URL", help="Download from here instead.")
@click.option("--mirror", metavar="URL", help="Download the file of this name from below here instead.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to keep it.  [default: $PAPISIM_CACHE, or the system's]",
)
@click.option("--sha256", metavar="HEX", help="What the file's bytes hash to, if not what the catalogue says.")
@click.option("--again", is_flag=True, help="Download it even if it is there.")
@quiet_option
def fetch_trace(
    *,
    name: str | None,
    url: str | None,
    mirror: str | None,
    cache: Path | None,
    sha256: str | None,
    again: bool,
    quiet: bool,
) -> None:
    """Download a public request trace, check it, and print where it is; without NAME, list what there is.

    The licence is its publishers'; it is told on stderr together with what to cite.

    \b
    Example:
      papisim workload fetch
    """
    if name is None:
        _list_public()
        return
    if url and mirror:
        raise click.UsageError("--url and --mirror exclude each other")
    trace = load_public(name)
    source = url or (f"{mirror.rstrip('/')}/{trace.file}" if mirror else trace.url)
    with _download_bar(trace.file, quiet=quiet) as progress:
        fetched = fetch(
            source,
            (cache or cache_folder()) / trace.file,
            sha256=_checked(sha256) or trace.sha256,
            again=again,
            progress=progress,
        )
    if not quiet:
        _tell(trace, fetched, source)
    click.echo(fetched.path)


def _checked(sha256: str | None) -> str | None:
    if sha256 is not None and not (len(sha256) == 64 and set(sha256.lower()) <= set("0123456789abcdef")):  # noqa: PLR2004
        raise click.BadParameter("expected 64 hexadecimal digits", param_hint="'--sha256'")
    return sha256.lower() if sha256 else None


def _tell(trace: PublicTrace, fetched: Fetched, source: str) -> None:
    for line in (
        f"downloaded {source}" if fetched.downloaded else "is there already",
        f"SHA-256 {fetched.sha256}: {fetched.trusted}",
        f"licence: {trace.licence}",
        f"cite: {bibliography()[trace.citation]}",
    ):
        click.echo(f"papisim: {trace.file}: {line}", err=True)


def _list_public() -> None:
    table = Table("name", "what", "licence", "checksum known", box=None, pad_edge=False)
    table.columns[0].style = "cyan"
    for name in catalog.shipped(Shelf.PUBLIC):
        trace = load_public(name)
        table.add_row(name, trace.description, trace.licence, "yes" if trace.sha256 else "no")
    console().print(table)


@contextmanager
def _download_bar(label: str, *, quiet: bool) -> Iterator[Progress]:
    from rich.progress import BarColumn, DownloadColumn, TextColumn  # noqa: PLC0415 - start-up time
    from rich.progress import Progress as Bars  # noqa: PLC0415

    err = console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Bars(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as shown:
        task = shown.add_task(label, total=None)
        yield lambda n_bytes, total: shown.update(task, completed=n_bytes, total=total)
