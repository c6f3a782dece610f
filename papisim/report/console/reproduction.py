"""A paper's figures beside simulated values, on the console and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from papisim.report.console.claims import STYLES, shown
from papisim.report.console.console import console


class Shown(NamedTuple):
    """A figure as it is shown.

    Attributes:
        name: of the figure.
        title: what it is on.
        assumed: what every value of it takes for granted.
        rows: claims with verdicts, as plain values.
        moved: for each claim what the assumed constants make of it at most, in words; empty where not asked for.
        images: files of the drawn figure.
    """

    name: str
    title: str
    assumed: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    moved: Mapping[str, str]
    images: Sequence[Path] = ()


def print_figures(stance: str, figures: Iterable[Shown], scores: Mapping[str, float]) -> None:
    """Print a reproduction: a table a figure, what it assumes, and the scores."""
    page = console()
    page.print(f"stance: {stance}", style="bold")
    for figure in figures:
        page.print(Text.assemble("\n", (figure.name, "bold"), f"  {figure.title}"))
        page.print(_table(figure))
        page.print(f"  assumed: {'; '.join(figure.assumed)}", style="dim")
    page.print()
    for name, value in scores.items():
        page.print(
            f"mean |ln(simulated / published)| over numbers {name.replace('_', ' ')}: {value:.3f}", style="bold"
        )


def _table(figure: Shown) -> Table:
    headings = ["value", "published", "simulated", "error", "verdict", *(["constants ±20 %"] if figure.moved else [])]
    table = Table(*headings, box=None, pad_edge=False)
    for column in table.columns[1:4]:
        column.justify = "right"
    for row in figure.rows:
        cells = [row["claim"], *_numbers(row), Text(row["verdict"].value, STYLES[row["verdict"]])]
        table.add_row(*cells, *([figure.moved.get(row["claim"], "")] if figure.moved else []))
    return table


def _numbers(row: Mapping[str, Any]) -> tuple[str, str, str]:
    error = "" if row["relative_error"] is None else f"{100 * row['relative_error']:+.0f} %"
    tag = "≈ " if row["reliability"] == "figure" else ""
    return tag + shown(row["claimed"]), shown(row["simulated"]), error


def markdown(stance: str, figures: Iterable[Shown], scores: Mapping[str, float]) -> str:
    """Return the page of a reproduction."""
    lines = [f"# PAPI, reproduced: stance {stance}", ""]
    lines += [
        f"Mean |ln(simulated / published)|, numbers {name.replace('_', ' ')}: {scores[name]:.3f}" for name in scores
    ]
    lines += ["", "Published values marked ≈ are read off a figure by others, good to ±15 %."]
    for figure in figures:
        lines += ["", f"## {figure.name}: {figure.title}", "", *_markdown_table(figure), ""]
        lines += [f"- assumed: {text}" for text in figure.assumed]
        lines += ["", *(f"![{figure.title}]({image.name})" for image in figure.images if image.suffix == ".png")]
    return "\n".join(lines) + "\n"


def _markdown_table(figure: Shown) -> list[str]:
    headings = ["value", "published", "simulated", "error", "verdict", *(["constants ±20 %"] if figure.moved else [])]
    rows = [
        [
            row["claim"],
            *_numbers(row),
            row["verdict"].value,
            *([figure.moved.get(row["claim"], "")] if figure.moved else []),
        ]
        for row in figure.rows
    ]
    return ["| " + " | ".join(cells) + " |" for cells in [headings, ["---"] * len(headings), *rows]]
