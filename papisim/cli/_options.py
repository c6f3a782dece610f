"""Options and output that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from papisim.catalog import Substituted
from papisim.cli._numbers import Whole
from papisim.config.base import plain_type
from papisim.config.experiment import RunOptions
from papisim.config.options import Option
from papisim.errors import printable

#: draws from which on 5 % quantiles mean something
_FEWEST_DRAWS = 20

F = TypeVar("F", bound=Callable[..., object])


def stack(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that applies others as if each stood on a line of its own, in this order."""
    return lambda function: reduce(lambda inner, decorate: decorate(inner), reversed(decorators), function)


class PositiveInt(Whole):
    """A whole number from 1 to ten million."""


class Switch(click.Choice[str]):
    """``on`` or ``off``; the value is a bool."""

    def __init__(self) -> None:
        super().__init__(["on", "off"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return whether the switch is on."""
        return value if isinstance(value, bool) else super().convert(value, param, ctx) == "on"


def run_option(name: str, *flags: str, **changes: object) -> Callable[[F], F]:
    """Return the flag of a field of :class:`RunOptions`.

    Args:
        name: the field.
        *flags: the flag and the name of the command's parameter, where they are not those of the field.
        **changes: further arguments of :func:`click.option`, in place of those that follow from the field.
    """
    field = RunOptions.model_fields[name]
    option = Option.of(field)
    described = f"{option.help}  [default: {option.default}]" if option.default else option.help
    settings: dict[str, Any] = {"metavar": option.metavar, "help": described, "type": _type_of(field)}
    if field.is_required():
        settings["required"] = True
    elif name == "set":
        settings["multiple"] = True
    elif field.default is not None:
        settings |= {"default": _shown_default(field.default), "show_default": True}
    return click.option(*(flags or (f"--{name.replace('_', '-')}",)), **settings | changes)


def _type_of(field: FieldInfo) -> click.ParamType[object]:
    kind = plain_type(field.annotation)
    if kind is bool:
        return Switch()
    if kind is int:
        return Whole(*_bounds(field))
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    return click.STRING


def _bounds(field: FieldInfo) -> tuple[int, int]:
    """Return the least and the largest whole number that a field accepts."""
    limits = list(_constraints(field))
    (least,) = {each.ge for each in limits if isinstance(each, Ge) and isinstance(each.ge, int)}
    (most,) = {each.le for each in limits if isinstance(each, Le) and isinstance(each.le, int)}
    return least, most


def _constraints(field: FieldInfo) -> Iterator[object]:
    yield from field.metadata
    for member in get_args(field.annotation):
        yield from (each for info in get_args(member) for each in getattr(info, "metadata", ()))


def _shown_default(value: object) -> object:
    return ("off", "on")[value] if isinstance(value, bool) else value


def run_options(*without: str) -> Callable[[F], F]:
    """Return the flags of all fields of :class:`RunOptions` but some."""
    return stack(*(run_option(name) for name in RunOptions.model_fields if name not in without))


#: forms of tables for papers and pages
_WRITTEN = ("latex", "markdown")

trace_option = run_option("trace")
overrides_option = run_option("set", "--set", "overrides")
seed_option = run_option("seed")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No notes and no progress on stderr.")


class Draws(click.ParamType[int]):
    """``budget``, or ``mc:N`` for N draws; the value is the number of draws, 0 for the budget."""

    name = "uncertainty"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of draws."""
        if value == "budget":
            return 0
        kind, _, number = str(value).partition(":")
        if kind != "mc" or not number.isdecimal() or int(number) < _FEWEST_DRAWS:
            self.fail(
                f"found '{value}', expected 'budget', or 'mc:N' with at least {_FEWEST_DRAWS} draws", param, ctx
            )
        return int(number)


uncertainty_option = click.option(
    "--uncertainty",
    is_flag=False,
    flag_value="budget",
    type=Draws(),
    metavar="[budget|mc:N]",
    help="Also give 90 % intervals from the models' measured errors: at once, or from N more simulations (mc:N).",
)


def format_option(*choices: str) -> Callable[[F], F]:
    """Return the ``--format`` option with a command's choices, the first being the default."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help="Format of the result.",
    )


def table_format_option(*choices: str) -> Callable[[F], F]:
    """Return the ``--format`` option of a command whose tables can be written for papers and pages too.

    ``latex`` and ``markdown`` are the tables of ``table``, which the command gets as its value.
    """

    def chosen(ctx: click.Context, _: click.Parameter, value: str) -> str:
        if value not in _WRITTEN:
            return value
        from papisim.report.console.console import writing  # noqa: PLC0415 - start-up time

        ctx.with_resource(writing(value))
        return "table"

    return click.option(
        "--format",
        "output",
        type=click.Choice([*choices, *_WRITTEN]),
        default=choices[0],
        show_default=True,
        callback=chosen,
        help="Format of the result.",
    )


def noting(*, quiet: bool) -> Callable[[str], None]:
    """Return a function that prints a note on stderr, or, if quiet, only one on a file that was read in the place of another."""
    return lambda note: show_notes([note], quiet=quiet)


def show_notes(notes: Iterable[str], *, quiet: bool) -> None:
    """Print notes on stderr, each once; if quiet, only those on files that were read in the place of others."""
    for note in dict.fromkeys(notes):
        if not quiet or isinstance(note, Substituted):
            click.echo(f"papisim: note: {printable(note)}", err=True)


def print_json(value: object) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=2))


@contextmanager
def progress(n_requests: int | None, label: str, *, quiet: bool) -> Iterator[Callable[[int, float], None]]:
    """Show a progress bar on stderr while requests are being served, when a person is looking.

    Args:
        n_requests: number of requests; None if unknown.
        label: name of what is being simulated.
        quiet: show no bar.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda ended, seconds: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - start-up time

    from papisim.report.console.console import console  # noqa: PLC0415

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=n_requests)

        def advance(ended: int, seconds: float) -> None:
            bar.update(task, completed=ended, description=f"{label} · {seconds:.3g} s simulated")

        yield advance
