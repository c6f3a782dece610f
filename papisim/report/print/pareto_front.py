"""Designs by their objectives: all that were tried, and those that no other beats; one panel for each two objectives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from papisim.errors import MissingExtra

_TRIED, _FRONT = "#9aa5b1", "#0b6e99"
_PANEL_INCHES, _DPI = 4.2, 160


def draw(
    tried: Sequence[dict[str, Any]], front: Sequence[dict[str, Any]], objectives: Sequence[str], stem: Path
) -> list[Path]:
    """Draw the figure as PNG and PDF.

    Args:
        tried: feasible designs, with a number for each objective.
        front: those that no other beats.
        objectives: names; with a single one, it is drawn by trial (``point``).
        stem: path of the files without their suffix.

    Returns:
        The files.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingExtra("the figure of the front", "matplotlib", "plot") from None
    pairs = list(combinations(objectives, 2)) or [("point", objectives[0])]
    figure = Figure(figsize=(_PANEL_INCHES * len(pairs), _PANEL_INCHES), layout="constrained")
    for panel, (x, y) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        for rows, colour, size, label in (
            (tried, _TRIED, 12, "tried, feasible"),
            (front, _FRONT, 30, "no other is better"),
        ):
            panel.scatter([row[x] for row in rows], [row[y] for row in rows], s=size, color=colour, label=label)
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        panel.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False)
    files = [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for file in files:
        figure.savefig(file, dpi=_DPI)
    return files
