"""Figures of matplotlib, which is optional, and the files that they are written to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from papisim.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 160


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
    """Write a figure in the format of each file's suffix; a PDF has no date, so that equal figures are equal files."""
    for file in files:
        figure.savefig(file, dpi=_DPI, metadata={"CreationDate": None} if file.suffix == ".pdf" else None)
