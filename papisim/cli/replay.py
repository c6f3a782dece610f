"""``papisim replay``: an engine's own benchmark beside a simulation of the same requests."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click
from rich.table import Table

from papisim import units
from papisim.cli._command import Command
from papisim.cli._options import (
    PositiveInt,
    format_option,
    print_json,
    quiet_option,
    run_option,
    seed_option,
    show_notes,
)
from papisim.errors import InputError
from papisim.report.console.console import console
from papisim.validation.clients import BenchmarkResult, read_results
from papisim.validation.replay import replay
from papisim.validation.schema import Replay, ReplayedResult
from papisim.validation.served import Simulator


@click.command(name="replay", cls=Command)
@click.argument("result", type=click.Path(path_type=Path, dir_okay=False))
@run_option("hw")
@run_option("trace")
@click.option("--engine", metavar="NAME|FILE", help="Engine profile.  [default: that of the client, vllm or sglang]")
@click.option(
    "--concurrency", type=PositiveInt(), help="Requests of the client at once, in place of what the file says."
)
@run_option("set")
@seed_option
@quiet_option
@format_option("table", "json", "csv")
def command(
    *, result: Path, hw: str, trace: str, engine: str | None, concurrency: int | None, seed: int, quiet: bool, output: str,
    **options: tuple[str, ...],
) -> None:  # fmt: skip
    """Simulate the requests of a benchmark and print its latencies beside the simulated ones.

    RESULT is JSON of vllm bench serve --save-result (with --save-detailed every request is replayed with its lengths), JSON Lines
    of sglang.bench_serving, or profile_export.jsonl, profile_export_aiperf.json or profile_export_genai_perf.json of AIPerf and
    GenAI-Perf. A client that limits its requests at once is simulated as a closed loop; otherwise known arrivals are replayed, and
    unknown ones drawn at the client's rate.

    Limits of the engine that no client knows are given by --set, such as batching.max_batch and batching.chunk_tokens.

    \b
    Example:
      papisim replay result.json --hw a100_single --trace llama7b --set devices.gpu.part=h100
    """
    results = read_results(result)
    found = Replay(
        results=[
            replay(each, Simulator(hw, trace, engine or _engine_of(each), options["set"], seed), concurrency)
            for each in results
        ]
    )
    show_notes((note for each in found.results for note in each.notes), quiet=quiet)
    if output == "json":
        print_json(found.as_json())
    elif output == "csv":
        _write_csv(found.results)
    else:
        for each in found.results:
            _print(each)


def _engine_of(result: BenchmarkResult) -> str:
    if result.form not in ("vllm", "sglang"):
        raise InputError(f"{result.form} does not say which engine served; --engine names its profile")
    return result.form


def _rows(result: ReplayedResult) -> list[tuple[str, str, float, float, float]]:
    rows = [
        (figure.metric, figure.statistic, figure.measured_s, figure.predicted_s, figure.error)
        for figure in result.latencies
    ]
    if result.throughput is not None:
        found = result.throughput
        rows.append(("tokens_per_s", "mean", found.measured_tokens_per_s, found.predicted_tokens_per_s, found.error))
    return rows


def _write_csv(results: list[ReplayedResult]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("result", "metric", "statistic", "measured", "predicted", "error"))
    writer.writerows((number, *row) for number, result in enumerate(results) for row in _rows(result))


def _print(result: ReplayedResult) -> None:
    page = console()
    page.print(
        f"{result.requests:,} requests of {result.model or result.form} on {result.machine}, {result.trace}, "
        f"engine {result.engine}, as {result.workload}",
        style="bold",
    )
    table = Table("metric", "", "measured", "papisim", "error", box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    for metric, statistic, measured, predicted, error in _rows(result):
        shown = (
            (f"{measured:,.1f}", f"{predicted:,.1f}")
            if metric == "tokens_per_s"
            else (units.format(measured, "s", 4), units.format(predicted, "s", 4))
        )
        name = "tokens/s" if metric == "tokens_per_s" else metric.upper()
        table.add_row(name, statistic, *shown, f"{error:+.1%}")
    page.print(table)
