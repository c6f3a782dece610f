"""The console that results are printed on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from papisim.errors import printable

#: columns without a terminal, as in a pipe or a file
_PIPE_WIDTH = 120
_BLOCKS = "▁▂▃▄▅▆▇█"


class PlainConsole(Console):
    """A console that prints text as it is: brackets are no markup, and control characters are written as escapes.

    Styles are given by arguments or by :class:`rich.text.Text`, never inside a text: names and descriptions come from files.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as rich prints it."""
        return super().render_str(printable(text), **options | {"markup": False, "emoji": False})

    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the command line; rich would end the process with status 1."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal or as ``COLUMNS`` says; notes and progress go to ``stderr``."""
    piped = not (sys.stderr if stderr else sys.stdout).isatty() and "COLUMNS" not in os.environ
    return PlainConsole(highlight=False, stderr=stderr, width=_PIPE_WIDTH if piped else None)


def bars(values: Sequence[float]) -> str:
    """Draw values as bars of text, one character per value, the largest being the highest."""
    top = max(values, default=0.0)
    return "".join(
        _BLOCKS[min(len(_BLOCKS) - 1, int(value / top * len(_BLOCKS)))] if top else "▁" for value in values
    )
