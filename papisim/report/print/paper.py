"""Figures for papers: facets as lines, bars or stacked bars, in a serif type at the width of a column or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from papisim.report.facets import Facet, Figure
from papisim.report.print.canvas import canvas, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page

#: widths of two-column proceedings (ACM, IEEE), inches
WIDTHS = {"column": 3.33, "page": 7.0}
_HEIGHT_IN = 1.9
#: facets in one row
_PER_ROW = {"column": 2, "page": 4}

#: distinguishable without colour vision (Tol, bright), and in grey by marker and hatching
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#222255")
_MARKERS, _HATCHES = "os^DvxP*", ("", "///", "...", "\\\\\\", "xxx", "---", "ooo", "+++")
#: a horizontal axis whose largest number is this many times the smallest is logarithmic
_WIDE = 8.0

_STYLE = {
    "font.family": "serif",
    "font.serif": ["Times New Roman", "Nimbus Roman", "Liberation Serif", "STIXGeneral", "DejaVu Serif"],
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.4,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "papisim",  # equal figures are equal files
}

#: lower and upper end by label, one pair per place; None where there is none
Errors = Mapping[str, Sequence[tuple[float, float] | None]]


@dataclass(frozen=True)
class Plot:
    """What is drawn, and how.

    Attributes:
        kind: marks.
        facets: one panel each.
        x_label: label of the horizontal axes.
        y_label: label of the vertical axes.
        width: of the figure: ``column`` or ``page``.
        ratios: draw ratios to the first line.
        log: a logarithmic vertical axis.
        errors: error bars.
    """

    kind: Literal["lines", "bars", "stacked"]
    facets: Sequence[Facet]
    x_label: str
    y_label: str
    width: str = "column"
    ratios: bool = False
    log: bool = False
    errors: Errors = field(default_factory=dict)

    def draw(self, file: Path) -> None:
        """Write the figure in the format of a file's suffix.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        canvas(1, 1)  # which says that matplotlib is missing
        import matplotlib as mpl  # noqa: PLC0415 - optional

        with mpl.rc_context(_STYLE):
            save(self._page(), [file])

    def _page(self) -> Page:
        columns = min(len(self.facets), _PER_ROW[self.width])
        rows = -(-len(self.facets) // columns)
        page = canvas(WIDTHS[self.width], _HEIGHT_IN * rows + 0.2)
        panels = page.subplots(rows, columns, sharey=True, squeeze=False).flatten().tolist()
        for panel, facet in zip(panels, self.facets, strict=False):
            self._panel(panel, facet)
        for panel in panels[len(self.facets) :]:
            panel.set_visible(False)
        for panel in panels[::columns]:
            panel.set_ylabel(self.y_label)
        handles, labels = panels[0].get_legend_handles_labels()
        if len(labels) > 1:
            wide = 3 if self.width == "column" else 6
            page.legend(handles, labels, loc="outside upper center", ncols=min(wide, len(labels)), frameon=False,
                        handlelength=1.6, columnspacing=1.0)  # fmt: skip
        return page

    def _panel(self, axes: Axes, facet: Facet) -> None:
        numbers = [each for each in facet.across if isinstance(each, (int, float))]
        scaled = self.kind == "lines" and len(numbers) == len(facet.across)
        places = numbers if scaled else [float(index) for index in range(len(facet.across))]
        if scaled and places[0] > 0 and places[-1] >= _WIDE * places[0]:
            axes.set_xscale("log", base=2)
        (self._lines if self.kind == "lines" else self._bars)(axes, facet, places)
        axes.set_xticks(places, [_text(each) for each in facet.across], rotation=_rotation(facet.across))
        axes.minorticks_off()
        axes.set_xlabel(self.x_label)
        if facet.title:
            axes.set_title(facet.title.replace("trace ", ""))
        if self.log:
            axes.set_yscale("log")
        elif self.kind == "lines":
            axes.set_ylim(bottom=0)
        if self.ratios:
            axes.axhline(1, color="#888888", lw=0.6, ls="--", zorder=0)
        axes.grid(axis="y", color="#e5e5e5", lw=0.4)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    def _values(self, facet: Facet) -> dict[str, list[Figure]]:
        return facet.ratios if self.ratios else facet.lines

    def _lines(self, axes: Axes, facet: Facet, places: Sequence[float]) -> None:
        for index, (label, values) in enumerate(self._values(facet).items()):
            there = [each is not None for each in values]
            heights = [each for each in values if each is not None]
            at = [place for place, known in zip(places, there, strict=True) if known]
            axes.errorbar(at, heights, yerr=self._spans(label, values), label=label, marker=_MARKERS[index % len(_MARKERS)],
                          color=_COLOURS[index % len(_COLOURS)], capsize=2, elinewidth=0.7)  # fmt: skip

    def _bars(self, axes: Axes, facet: Facet, places: Sequence[float]) -> None:
        shown = self._values(facet)
        stacked = self.kind == "stacked"
        width = 0.7 if stacked else 0.8 / len(shown)
        below = [0.0] * len(places)
        for index, (label, values) in enumerate(shown.items()):
            heights = [each or 0.0 for each in values]
            shift = 0.0 if stacked else width * (index + 0.5) - 0.4
            axes.bar([place + shift for place in places], heights, width, bottom=below if stacked else None, label=label,
                     color=_COLOURS[index % len(_COLOURS)], hatch=_HATCHES[index % len(_HATCHES)], edgecolor="white", lw=0.3)  # fmt: skip
            if stacked:
                below = [low + height for low, height in zip(below, heights, strict=True)]
            elif label in self.errors:
                at = [place + shift for place, each in zip(places, values, strict=True) if each is not None]
                tops = [each for each in values if each is not None]
                axes.errorbar(
                    at, tops, yerr=self._spans(label, values), fmt="none", ecolor="black", capsize=2, elinewidth=0.7
                )

    def _spans(self, label: str, values: Sequence[Figure]) -> list[list[float]] | None:
        """Return the lengths of error bars below and above the values that are there."""
        ends = self.errors.get(label)
        if ends is None:
            return None
        pairs = [(value, end) for value, end in zip(values, ends, strict=True) if value is not None]
        return [
            [max(0.0, value - end[0]) if end else 0.0 for value, end in pairs],
            [max(0.0, end[1] - value) if end else 0.0 for value, end in pairs],
        ]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rotation(across: Sequence[object]) -> float:
    return 30.0 if sum(len(_text(each)) for each in across) > 36 else 0.0  # noqa: PLR2004 - characters below an axis of a column
