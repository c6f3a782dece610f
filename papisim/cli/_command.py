"""The form of every command: its example is below its options, and an option of one value is given once."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any

import click


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
            _, _, given = self.make_parser(ctx).parse_args(list(args))
            for parameter, times in Counter(given).items():
                if times > 1 and _takes_one_value(parameter):
                    raise click.UsageError(f"{parameter.opts[0]} is given {times} times, expected once", ctx)
        return super().parse_args(ctx, args)


def _takes_one_value(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and not (parameter.multiple or parameter.is_flag or parameter.count)


class Commands(click.Group):
    """A command with commands of its own."""

    command_class = Command
