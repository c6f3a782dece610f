"""``papisim explain``: why does a run take as long as it does, and which changes would shorten it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from papisim.cli._command import Command
from papisim.cli._numbers import Number
from papisim.cli._options import PositiveInt, print_json, quiet_option, run_options, show_notes, table_format_option
from papisim.config.experiment import options_of
from papisim.diagnosis.explanation import explain
from papisim.diagnosis.schema import ExplanationRecord
from papisim.diagnosis.scope import Scope
from papisim.errors import printable
from papisim.report.console.explanation import print_explanation


@click.command(name="explain", cls=Command)
@run_options()
@click.option(
    "--of",
    "scope",
    type=click.Choice([scope.value for scope in Scope]),
    default="run",
    show_default=True,
    help="Explain the whole run, or its steps of one kind.",
)
@click.option("--top", type=PositiveInt(), default=12, show_default=True, help="Rows of each table.")
@click.option(
    "--changes",
    "wanted",
    type=PositiveInt(),
    default=3,
    show_default=True,
    help="Improved numbers, and other choices, to find.",
)
@click.option(
    "--step",
    "step_ratio",
    type=Number(0.01, 10),
    default=0.2,
    show_default=True,
    help="Relative improvement of numbers: 0.2 is 20 %.",
)
@table_format_option("table", "json")
@quiet_option
def command(
    *, output: str, quiet: bool, scope: str, top: int, wanted: int, step_ratio: float, **options: object
) -> None:
    """Explain a run: where its time goes, how sensitive it is to each number of the hardware, and which changes help most.

    Time is split by device, class of kernels and bound. Sensitivities are elasticities, percent of throughput per percent of
    a number, from pricing the run's work again. Changes are simulated; each is printed as options of papisim run.

    \b
    Example:
      papisim explain --hw papi --trace llama65b --batch 16 --of decode
    """
    asked = options_of(**options)
    with _watching(quiet=quiet) as trying:
        explanation = explain(asked, scope=Scope(scope), wanted=wanted, top=top, step_ratio=step_ratio, trying=trying)
    show_notes(explanation.run.experiment.notes, quiet=quiet)
    if output == "json":
        print_json(ExplanationRecord.of(explanation).as_json())
    else:
        print_explanation(explanation, top)


@contextmanager
def _watching(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show the current simulation on stderr, if it is a terminal."""
    from rich.text import Text  # noqa: PLC0415 - start-up time

    from papisim.report.console.console import console  # noqa: PLC0415

    terminal = console(stderr=True)
    if quiet or not terminal.is_terminal:
        yield lambda what: None
        return
    with terminal.status("simulating the run") as status:
        yield lambda what: status.update(Text(f"simulating {printable(what)}"))
