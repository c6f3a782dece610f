"""Draws a table as bars or lines: one colour per series, one panel per value of a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from papisim.report.print.canvas import Drawing, Rows, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: distinguishable without colour vision and in grey (Tol, bright)
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_MANY = 8  # ticks from which labels are turned


@dataclass(frozen=True)
class Chart(Drawing):
    """A drawing of a table.

    Attributes:
        kind: marks.
        x: columns of the horizontal axis; the values of several are joined.
        y: column of the heights.
        series: column with one colour per value.
        y_label: label of the vertical axis.
        x_label: label of the horizontal axis.
        panel: column with one panel per value.
        line: height of a reference line.
        log: whether the vertical axis is logarithmic.
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

    def page(self, rows: Rows, title: str) -> Figure:
        """Return a table's drawing.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        panels = list(dict.fromkeys(row[self.panel] for row in rows)) if self.panel else [None]
        page = canvas(max(5.0, 4.4 * len(panels)), 3.9)
        axes = page.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for place, panel in zip(axes, panels, strict=True):
            self._draw_panel(place, [row for row in rows if self.panel is None or row[self.panel] == panel])
            if panel is not None:
                place.set_title(str(panel), fontsize=10)
        axes[0].set_ylabel(self.y_label)
        handles, labels = axes[0].get_legend_handles_labels()
        page.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False)
        page.suptitle(title, fontsize=10)
        return page

    def _draw_panel(self, axes: Axes, rows: Rows) -> None:
        names = [", ".join(str(row[column]) for column in self.x) for row in rows]
        places = {name: index for index, name in enumerate(dict.fromkeys(names))}
        self._draw_series(axes, rows, [places[name] for name in names])
        turned = len(places) >= _MANY
        axes.set_xticks(range(len(places)), list(places), rotation=90 if turned else 0, fontsize=8)
        axes.set_xlabel(self.x_label)
        if self.log:
            axes.set_yscale("log")
        if self.line is not None:
            axes.axhline(self.line, color="#888888", lw=0.9, ls="--")
        axes.grid(axis="y", color="#e5e5e5", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    def _draw_series(self, axes: Axes, rows: Rows, places: Sequence[int]) -> None:
        series = list(dict.fromkeys(row[self.series] for row in rows))
        width, below = 0.8 / len(series), [0.0] * (max(places) + 1)
        for index, one in enumerate(series):
            mine = [(at, row[self.y]) for at, row in zip(places, rows, strict=True) if row[self.series] == one]
            at, heights = [place for place, _ in mine], [height for _, height in mine]
            colour, label = _COLOURS[index % len(_COLOURS)], str(one)
            if self.kind == "lines":
                axes.plot(at, heights, marker="o", ms=4, color=colour, label=label)
            elif self.kind == "stacked":
                axes.bar(at, heights, 0.6, bottom=[below[place] for place in at], color=colour, label=label)
                for place, height in mine:
                    below[place] += height
            else:
                axes.bar(
                    [place - 0.4 + width * (index + 0.5) for place in at], heights, width, color=colour, label=label
                )
