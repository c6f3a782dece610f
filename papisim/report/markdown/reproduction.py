"""The page of a reproduced paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from papisim.report.claims import SCORES, ShownFigure, cells, headings, own_reason
from papisim.report.markdown.table import table


def reproduction_page(
    title: str, interpretation: str | None, figures: Sequence[ShownFigure], scores: Mapping[str, float]
) -> str:
    """Return the page of a reproduction.

    Args:
        title: the paper's title.
        interpretation: name of the interpretation; None for a paper that leaves nothing open.
        figures: the figures.
        scores: scores by their keys in :data:`papisim.report.claims.SCORES`.
    """
    lines = [f"# {title}, reproduced" + (f": interpretation {interpretation}" if interpretation else ""), ""]
    lines += [f"Mean |ln(simulated / published)| of {SCORES[name]}: {value:.3f}\n" for name, value in scores.items()]
    lines += ["Published values marked ≈ are read off a figure by others, good to ±15 %."]
    for figure in figures:
        lines += ["", f"## {figure['name']}: {figure['title']}", "", *_body(figure)]
        lines += [f"- assumed: {text}" for text in figure["assumed"]]
        drawings = [image.name for image in figure["images"] if image.suffix == ".png"]
        lines += ["", *(f"![{figure['title']}]({name})" for name in drawings)] if drawings else []
    return "\n".join(lines) + "\n"


def _body(figure: ShownFigure) -> list[str]:
    rows = figure["rows"]
    lines = [*table(headings(figure), [cells(figure, row) for row in rows]), ""] if rows else []
    lines += [f"- {finding}" for finding in figure["findings"]]
    return lines + [f"- {row['claim']}: {reason}" for row in rows if (reason := own_reason(figure, row))]
