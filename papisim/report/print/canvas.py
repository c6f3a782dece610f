"""Figures of matplotlib, which is optional, and the files that they are written to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from papisim.errors import MissingExtra
from papisim.results.schema import Figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 160
#: metadata of files that would have a date, by suffix
_UNDATED = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}

#: rows of a table, by column
Rows = Sequence[Figures]


def canvas(width_in: float, height_in: float) -> Figure:
    """Return an empty figure of a size in inches.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - start-up time
    except ImportError:
        raise MissingExtra("drawing a figure", "matplotlib", "plot") from None
    return Figure(figsize=(width_in, height_in), layout="constrained")


def png_and_pdf(stem: Path) -> list[Path]:
    """Return the files of a figure, from their common path without suffix."""
    return [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]


def save(figure: Figure, files: Iterable[Path]) -> None:
    """Write a figure in the format of each file's suffix; no file has a date, so that equal figures are equal files."""
    for file in files:
        figure.savefig(file, dpi=_DPI, metadata=_UNDATED.get(file.suffix))


class Drawing(ABC):
    """A drawing of a table on one page."""

    @abstractmethod
    def page(self, rows: Rows, title: str) -> Figure:
        """Return the drawing.

        Args:
            rows: the table.
            title: title above the panels.

        Raises:
            MissingExtra: matplotlib is not installed.
        """

    def draw(self, rows: Rows, title: str, stem: Path) -> list[Path]:
        """Draw the table as PNG and PDF.

        Args:
            rows: the table.
            title: title above the panels.
            stem: path of the files without their suffix.

        Returns:
            The two files.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        files = png_and_pdf(stem)
        save(self.page(rows, title), files)
        return files
