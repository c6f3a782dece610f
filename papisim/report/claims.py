"""A paper's figures as the console and the written page show them: the same cells, whatever draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

#: verdicts in the order in which they are counted, with the colour of each on the console
VERDICTS = {"in range": "green", "fitted": "cyan", "direction holds": "yellow", "off": "red", "not testable": "dim"}

#: words for the scores of a reproduction, by their key in a summary
SCORES = {"stated": "stated numbers", "stated_and_read_off": "stated numbers and those read off figures"}


class ClaimRow(TypedDict):
    """A claim with its verdict, as plain values; the fields are those of :class:`papisim.paper.claims.Row`."""

    system: str
    claim: str
    claimed: float | str
    simulated: float | None
    relative_error: float | None
    verdict: str
    reason: str
    reliability: str
    source: str


class ShownFigure(TypedDict):
    """A figure in one interpretation.

    Attributes:
        name: the figure's name.
        title: what it shows.
        assumed: what all its values assume.
        rows: claims with verdicts.
        moved: for each claim the range over the assumed constants, in words; empty where constants were not moved.
        findings: sentences on the figure's data.
        images: files of the drawn figure.
    """

    name: str
    title: str
    assumed: Sequence[str]
    rows: Sequence[ClaimRow]
    moved: Mapping[str, str]
    findings: Sequence[str]
    images: Sequence[Path]


def headings(figure: ShownFigure) -> list[str]:
    """Return the headings of the table of a figure's claims."""
    return ["value", "published", "simulated", "error", "verdict", *(["constants ±20 %"] if figure["moved"] else [])]


def cells(figure: ShownFigure, row: ClaimRow) -> list[str]:
    """Return the cells of a claim in that table; a published value that was read off a figure is marked ≈."""
    tag = "≈ " if row["reliability"] == "figure" else ""
    error = "" if row["relative_error"] is None else f"{100 * row['relative_error']:+.0f} %"
    moved = [figure["moved"].get(row["claim"], "")] if figure["moved"] else []
    return [row["claim"], tag + number(row["claimed"]), number(row["simulated"]), error, row["verdict"], *moved]


def number(value: float | str | None) -> str:
    """Return a claimed or simulated value with four digits; a dash for none."""
    if value is None:
        return "—"
    return value if isinstance(value, str) else f"{value:.4g}"


def own_reason(figure: ShownFigure, row: ClaimRow) -> str:
    """Return the reason of a claim's verdict; empty where it is only what the whole figure assumes."""
    return "" if row["reason"] == "; ".join(figure["assumed"]) else row["reason"]
