"""The form of every command: its example is below its options, and an option of one value is given once."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import click

from papisim.results.command import running


class Command(click.Command):
    """A command whose docstring may end with an example.

    An option that takes one value and is given twice is refused: the first value would be lost in silence.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        text, example, lines = inspect.cleandoc(self.help or "").partition("\b\nExample:")
        if example:
            self.help, self.epilog = text.rstrip(), example + lines

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            UsageError: an option of one value is given several times.
        """
        if not ctx.resilient_parsing:
            values, _, given = self.make_parser(ctx).parse_args(list(args))
            ctx.meta[_GIVEN] = values
            for parameter, times in Counter(given).items():
                if times > 1 and _takes_one_value(parameter):
                    raise click.UsageError(f"{parameter.opts[0]} is given {times} times, expected once", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, recorded in the manifests of its results."""
        name = ctx.command_path.partition(" ")[2]
        with running(name, list(arguments_of(self, ctx.meta[_GIVEN]))):
            return super().invoke(ctx)


#: what a context remembers the arguments by, as they were given
_GIVEN = "papisim.given"

#: parameters that change where results go and how they are shown, and not what they are
OF_OUTPUT = frozenset({
    "out", "force", "quiet", "output", "resume", "timeline_file", "timeline_window", "workers", "processes", "scheduler", "tls_ca", "tls_cert", "tls_key",
})  # fmt: skip


def arguments_of(command: click.Command, values: Mapping[str, object]) -> Iterator[str]:
    """Yield arguments that repeat a command, those of its output left out.

    Args:
        command: the command.
        values: texts by parameter, as click's parser returns them.
    """
    for parameter in command.params:
        value = values.get(str(parameter.name))
        if parameter.name in OF_OUTPUT or value is None:
            continue
        each = [str(one) for one in value] if isinstance(value, (list, tuple)) else [str(value)]
        if isinstance(parameter, click.Argument):
            yield from each
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            yield parameter.opts[0] if value else parameter.secondary_opts[0]
        else:
            yield from (text for one in each for text in (parameter.opts[0], one))


def _takes_one_value(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and not (parameter.multiple or parameter.is_flag or parameter.count)


class Commands(click.Group):
    """A command with commands of its own."""

    command_class = Command
