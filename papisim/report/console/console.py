"""The console that results are printed on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from papisim.errors import printable
from papisim.report import latex
from papisim.report.markdown import table as markdown

#: the form in which tables are written for papers and pages; None for the terminal
_form: ContextVar[str | None] = ContextVar("form", default=None)

#: columns without a terminal, as in a pipe or a file
_PIPE_WIDTH = 120
#: columns on each side of a cell, and more columns than any text has
_PADDING, _WIDE = 1, 10_000
_BLOCKS = "▁▂▃▄▅▆▇█"


@contextmanager
def writing(form: str) -> Iterator[None]:
    """Write tables as ``latex`` or ``markdown`` in the block, and all other text as comments or paragraphs."""
    token = _form.set(form)
    try:
        yield
    finally:
        _form.reset(token)


class PlainConsole(Console):
    """A console that prints text as it is: brackets are no markup, and control characters are written as escapes.

    Styles are given by arguments or by :class:`rich.text.Text`, never inside a text: names and descriptions come from files. A table
    that is wider than the console even with its texts wrapped is printed row by row, one line for each column.
    """

    def print(self, *objects: object, **options: Any) -> None:
        """Print as rich does, with no cell cut short; or as :func:`writing` says."""
        form = _form.get()
        if form is not None and not self.stderr:
            super().print("\n".join(_written(each, form) for each in objects), soft_wrap=True)
            return
        super().print(*(self._fitting(each) if isinstance(each, Table) else each for each in objects), **options)

    def _fitting(self, table: Table) -> Table:
        """Return a table, or its rows below one another where it does not fit."""
        for column in table.columns:
            column.overflow = "fold"
        least = sum(self._least(column) + 2 * _PADDING for column in table.columns)
        if least <= self.width or not table.show_header:
            return table
        below = Table(title=table.title, title_justify="left", box=None, show_header=False, pad_edge=False)
        below.add_column(style="dim", overflow="fold")
        below.add_column(overflow="fold")
        headers = [column.header for column in table.columns]
        for cells in zip(*(column.cells for column in table.columns), strict=True):
            for header, cell in zip(headers, cells, strict=True):
                below.add_row(header, cell)
            below.add_row("", "")
        return below

    def _least(self, column: Column) -> int:
        """Return the width of the longest word of a column."""
        texts = (column.header, *column.cells)
        return max(Measurement.get(self, self.options.update(width=_WIDE), text).minimum for text in texts)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as rich prints it."""
        return super().render_str(printable(text), **options | {"markup": False, "emoji": False})

    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the command line; rich would end the process with status 1."""
        raise BrokenPipeError


def _written(text: object, form: str) -> str:
    if not isinstance(text, Table):
        return (latex.comment if form == "latex" else markdown.paragraph)(str(text))
    headings = [str(column.header) for column in text.columns]
    rows = list(zip(*([str(cell) for cell in column.cells] for column in text.columns), strict=True))
    right = [column.justify == "right" for column in text.columns]
    title = str(text.title) if text.title else ""
    if form == "latex":
        return latex.table(headings, rows, right=right, title=title)
    return "\n".join([*([f"**{title}**", ""] if title else []), *markdown.table(headings, rows), ""])


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
