"""Draws designs by their objectives, those on the Pareto front and all others; one panel per pair of objectives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from papisim.report.print.canvas import Rows, canvas, png_and_pdf, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRIED, _FRONT = "#9aa5b1", "#0b6e99"
_PANEL_INCHES = 4.2


def draw(tried: Rows, front: Rows, objectives: Sequence[str], stem: Path) -> list[Path]:
    """Draw the figure as PNG and PDF.

    Args:
        tried: feasible designs, with a number for each objective.
        front: designs on the Pareto front.
        objectives: names; a single one is drawn over the trials (``point``).
        stem: path of the files without their suffix.

    Returns:
        The files.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    files = png_and_pdf(stem)
    save(page(tried, front, objectives), files)
    return files


def page(tried: Rows, front: Rows, objectives: Sequence[str]) -> Figure:
    """Return the drawing.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    pairs = list(combinations(objectives, 2)) or [("point", objectives[0])]
    figure = canvas(_PANEL_INCHES * len(pairs), _PANEL_INCHES)
    for panel, (x, y) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        for rows, colour, size, label in (
            (tried, _TRIED, 12, "tried, feasible"),
            (front, _FRONT, 30, "Pareto front"),
        ):
            panel.scatter([row[x] for row in rows], [row[y] for row in rows], s=size, color=colour, label=label)
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        panel.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    return figure
