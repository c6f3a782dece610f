"""Draws a table: groups of bars or lines, one colour a series, one panel for each value of a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from papisim.errors import MissingExtra

#: distinguishable without colour vision and in grey (Tol, bright)
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_DPI = 160


@dataclass(frozen=True)
class Chart:
    """How a table is drawn.

    Attributes:
        kind: of marks.
        x: column along the horizontal axis; several are joined.
        y: column of the heights.
        series: column that colours tell apart.
        panel: column with a panel for each of its values.
        y_label: what the heights are.
        x_label: what stands along the horizontal axis.
        line: height of a line to compare with.
        log: whether heights are on a logarithmic axis.
    """

    kind: Literal["bars", "lines", "stacked"]
    x: tuple[str, ...]
    y: str
    series: str
    y_label: str
    x_label: str
    panel: str | None = None
    line: float | None = None
    log: bool = False


def draw_chart(chart: Chart, rows: Sequence[dict[str, Any]], title: str, stem: Path) -> list[Path]:
    """Draw a table as PNG and PDF.

    Args:
        chart: how.
        rows: the table.
        title: above it all.
        stem: path of the files without their suffix.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only who draws needs it
    except ImportError:
        raise MissingExtra("drawing a figure", "matplotlib", "plot") from None
    panels = list(dict.fromkeys(row[chart.panel] for row in rows)) if chart.panel else [None]
    page = Figure(figsize=(max(5.0, 4.4 * len(panels)), 3.9), layout="constrained")
    axes = page.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for place, panel in zip(axes, panels, strict=True):
        _panel(place, chart, [row for row in rows if chart.panel is None or row[chart.panel] == panel])
        if panel is not None:
            place.set_title(str(panel), fontsize=10)
    axes[0].set_ylabel(chart.y_label)
    handles, labels = axes[0].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False)
    page.suptitle(title, fontsize=10)
    files = [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for file in files:
        page.savefig(file, dpi=_DPI, metadata={"CreationDate": None} if file.suffix == ".pdf" else None)
    return files


def _panel(axes: Any, chart: Chart, rows: Sequence[dict[str, Any]]) -> None:
    names = [", ".join(str(row[column]) for column in chart.x) for row in rows]
    places = {name: index for index, name in enumerate(dict.fromkeys(names))}
    series = list(dict.fromkeys(row[chart.series] for row in rows))
    below = [0.0] * len(places)
    for index, one in enumerate(series):
        mine = [
            (places[name], row[chart.y]) for name, row in zip(names, rows, strict=True) if row[chart.series] == one
        ]
        at, heights = [place for place, _ in mine], [height for _, height in mine]
        colour = _COLOURS[index % len(_COLOURS)]
        if chart.kind == "lines":
            axes.plot(at, heights, marker="o", ms=4, color=colour, label=str(one))
        elif chart.kind == "stacked":
            axes.bar(at, heights, 0.6, bottom=[below[place] for place in at], color=colour, label=str(one))
            for place, height in mine:
                below[place] += height
        else:
            width = 0.8 / len(series)
            axes.bar(
                [place - 0.4 + width * (index + 0.5) for place in at], heights, width, color=colour, label=str(one)
            )
    axes.set_xticks(range(len(places)), list(places), rotation=0 if len(places) < 8 else 90, fontsize=8)  # noqa: PLR2004
    axes.set_xlabel(chart.x_label)
    if chart.log:
        axes.set_yscale("log")
    if chart.line is not None:
        axes.axhline(chart.line, color="#888888", lw=0.9, ls="--")
    axes.grid(axis="y", color="#e5e5e5", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
