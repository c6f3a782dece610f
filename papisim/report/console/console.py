"""The console that results are printed on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console

#: columns when nobody's terminal says how many there are, as in a pipe or a file
_PIPE_WIDTH = 120
_BLOCKS = "▁▂▃▄▅▆▇█"


def console() -> Console:
    """Return a console on stdout, as wide as the terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def bars(values: Sequence[float]) -> str:
    """Draw values as bars of text, one a character, the largest being the highest."""
    top = max(values, default=0.0)
    return "".join(
        _BLOCKS[min(len(_BLOCKS) - 1, int(value / top * len(_BLOCKS)))] if top else "▁" for value in values
    )
