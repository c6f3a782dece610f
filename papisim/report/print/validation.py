"""Draws predicted over measured values, one panel per family of kernels, coloured by regime, and the PIM model over golden counts.

On the line a prediction is exact; in the band it is within ±10 %. Axes are logarithmic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from papisim.report.print.canvas import canvas, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: colours by regime; further ones where a panel has other labels
_COLOURS = {"memory": "#4477aa", "transition": "#ccbb44", "compute": "#ee6677"}
_FURTHER = ("#228833", "#66ccee", "#aa3377", "#000000", "#999933", "#88ccee", "#cc6677", "#44aa99")
_BAND = 0.1
_COLUMNS = 4


@dataclass(frozen=True)
class Cloud:
    """Points of one colour in one panel.

    Attributes:
        panel: title of the panel, unit included.
        label: the regime, or the origin of the points.
        measured: measured or golden values.
        predicted: the model's, in the same order.
    """

    panel: str
    label: str
    measured: Sequence[float]
    predicted: Sequence[float]


def draw(clouds: Sequence[Cloud], file: Path) -> None:
    """Draw the figure in the format of the file's suffix.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    save(page(clouds), [file])


def page(clouds: Sequence[Cloud]) -> Figure:
    """Return the drawing.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    panels = list(dict.fromkeys(cloud.panel for cloud in clouds))
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = canvas(4.0 * min(len(panels), _COLUMNS), 3.9 * rows)
    axes = figure.subplots(rows, min(len(panels), _COLUMNS), squeeze=False).flatten()
    for panel, at in zip(panels, axes, strict=False):
        _panel(at, panel, [cloud for cloud in clouds if cloud.panel == panel])
    for unused in axes[len(panels) :]:
        unused.set_visible(False)
    return figure


def _panel(axes: Axes, title: str, clouds: Sequence[Cloud]) -> None:
    """Draw one panel."""
    labels = list(dict.fromkeys(cloud.label for cloud in clouds))
    others = iter(_FURTHER * len(labels))
    colours = {label: _COLOURS.get(label) or next(others) for label in labels}
    for label in labels:
        mine = [cloud for cloud in clouds if cloud.label == label]
        measured = [value for cloud in mine for value in cloud.measured]
        predicted = [value for cloud in mine for value in cloud.predicted]
        axes.scatter(
            measured, predicted, s=3, lw=0, alpha=0.5, color=colours[label], label=f"{label} ({len(measured):,})",
            rasterized=True,
        )  # fmt: skip
    ends = [extreme(extreme(c.measured) for c in clouds) for extreme in (min, max)]
    axes.plot(ends, ends, color="#444444", lw=0.8, zorder=0)
    low, high = ([end * factor for end in ends] for factor in (1 - _BAND, 1 + _BAND))
    axes.fill_between(ends, low, high, color="#dddddd", lw=0, zorder=0)
    axes.set(title=title, xlabel="measured", ylabel="predicted", xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):  # a panel of less than two decades has labels at its decades alone, too
        axis.set_minor_formatter(_no_label)
    axes.legend(fontsize=7, markerscale=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _no_label(_value: float, _position: float) -> str:
    return ""
