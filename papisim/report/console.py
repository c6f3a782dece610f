"""The console that results are printed on."""

from __future__ import annotations

import sys

from rich.console import Console

#: columns when nobody's terminal says how many there are, as in a pipe or a file
_PIPE_WIDTH = 120


def console() -> Console:
    """Return a console on stdout, as wide as the terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
