"""Options that several commands share, and what they do before and around the work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any, TypeVar

import click

from papisim.config.experiment import Experiment, RunOptions

F = TypeVar("F", bound=Callable[..., Any])


def _stack(*decorators: Callable[[Any], Any]) -> Callable[[F], F]:
    return lambda function: reduce(lambda inner, decorate: decorate(inner), reversed(decorators), function)


class PositiveInt(click.IntRange):
    """A whole number of at least 1."""

    def __init__(self) -> None:
        super().__init__(min=1)


trace_option = click.option(
    "--trace", required=True, metavar="NAME|DIR|FILE", help="Kernel trace: a shipped name or a path."
)
overrides_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override any field, e.g. devices.fc_pim.count=20 or workload.n_requests=8; may be repeated.",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No notes and no progress on stderr.")

acceptance_option = click.option(
    "--acceptance", default="always", show_default=True, metavar="NAME|FILE", help="Which drafts are accepted."
)
draft_option = click.option(
    "--draft", "drafting", default="free", show_default=True, metavar="NAME|FILE", help="Who drafts."
)

#: what runs that are compared have in common: all but the machine and the speculation policy
compared_options = _stack(
    trace_option,
    click.option(
        "--workload",
        default="creative_writing",
        show_default=True,
        metavar="NAME|FILE",
        help="Requests: a shipped name or a path.",
    ),
    click.option(
        "--batch", "batch_size", type=PositiveInt(), help="Requests of a batch, or the most of them.  [default: all]"
    ),
    click.option(
        "--requests",
        "n_requests",
        type=PositiveInt(),
        help="Number of requests.  [default: --batch, or the workload's]",
    ),
    click.option("--tlp", type=PositiveInt(), default=1, show_default=True, help="Tokens per request and iteration."),
    acceptance_option,
    draft_option,
    click.option(
        "--batching",
        metavar="NAME|FILE",
        help="Who joins the batch.  [default: static for a closed batch, else chunked_prefill]",
    ),
    click.option("--replicas", type=PositiveInt(), default=1, show_default=True, help="Equal machines side by side."),
    click.option(
        "--router",
        default="round_robin",
        show_default=True,
        metavar="KIND",
        help="Which of them serves a request: round_robin, least_loaded, kv_aware.",
    ),
    overrides_option,
    seed_option,
    click.option(
        "--fold",
        type=click.Choice(["on", "off"]),
        default="on",
        show_default=True,
        help="Price identical layers once; off simulates each.",
    ),
    click.option(
        "--fast-forward",
        type=click.Choice(["on", "off"]),
        default="on",
        show_default=True,
        help="Run iterations between which nothing changes at once; off simulates each.",
    ),
    click.option(
        "--metrics",
        type=click.Choice(["exact", "streaming"]),
        default="exact",
        show_default=True,
        help="Keep a row for every step and request, or none and sketches for percentiles.",
    ),
)


#: what a run is made of, besides the machine
run_options = _stack(
    compared_options,
    click.option("--speculation", metavar="NAME|FILE", help="Who decides what is drafted.  [default: from --tlp]"),
)


def run_options_of(options: dict[str, Any], **more: Any) -> RunOptions:
    """Return what the options above ask for; some of them are switches."""
    switches = {name: options[name] == "on" for name in ("fold", "fast_forward")}
    return RunOptions(**{**options, **switches, **more})


def format_option(*choices: str) -> Callable[[F], F]:
    """Return the ``--format`` option with a command's choices, the first being the default."""
    return click.option(
        "--format", "output", type=click.Choice(choices), default=choices[0], show_default=True, help="Of the result."
    )


def show_notes(experiments: Sequence[Experiment], *, quiet: bool) -> None:
    """Tell on stderr how files were found, each thing once."""
    if not quiet:
        for note in dict.fromkeys(note for experiment in experiments for note in experiment.notes):
            click.echo(f"papisim: note: {note}", err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=2))


@contextmanager
def progress(n_requests: int | None, label: str, *, quiet: bool) -> Iterator[Callable[[int, float], None]]:
    """Show a progress bar on stderr while requests are being served, when a person is looking.

    Args:
        n_requests: how many there will be; None if nobody knows.
        label: what is being simulated.
        quiet: show none.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda ended, seconds: None
        return
    from rich.console import Console  # noqa: PLC0415 - start-up time
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=n_requests)

        def advance(ended: int, seconds: float) -> None:
            bar.update(task, completed=ended, description=f"{label} · {seconds:.3g} s simulated")

        yield advance
