"""Draws tokens per second by batch: one line per policy, one column of panels per machine.

The upper panels have the rate, the lower ones its ratio to no speculation, in which policies are easier to distinguish. A
marker is filled where PIM computes most of FC, hollow where the GPU does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from papisim.report.print.canvas import Drawing, Rows, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "off": "#888888",
    "fixed_best": "#4477aa",
    "synergy": "#66ccee",
    "dsde": "#228833",
    "gammatune": "#99aa33",
    "sssd": "#ccbb44",
    "meta_eagle": "#ee6677",
    "smartspec": "#aa3377",
    "co_scheduled": "#000000",
}
_MOSTLY = 0.5


class BatchByPolicy(Drawing):
    """The drawing; its rows have ``machine``, ``batch``, ``policy``, ``tokens_per_s`` and ``fc_pim_ratio``."""

    def page(self, rows: Rows, title: str) -> Figure:
        """Return the drawing.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        machines = list(dict.fromkeys(row["machine"] for row in rows))
        page = canvas(4.2 * len(machines), 7.0)
        panels = page.subplots(2, len(machines), sharex=True, sharey="row", squeeze=False)
        for column, machine in enumerate(machines):
            here = [row for row in rows if row["machine"] == machine]
            _panel(panels[0][column], here, ratio=False)
            _panel(panels[1][column], here, ratio=True)
            panels[0][column].set_title(machine)
        panels[0][0].set_ylabel("tokens/s of a full batch")
        panels[1][0].set_ylabel("over no speculation")
        handles, labels = panels[0][0].get_legend_handles_labels()
        page.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
        page.suptitle(f"{title}\nfilled: PIM computes most of FC; hollow: the GPU does", fontsize=9, color="#555555")
        return page


def _panel(axes: Axes, here: Rows, *, ratio: bool) -> None:
    """Draw one machine's lines."""
    off = {point["batch"]: point["tokens_per_s"] for point in here if point["policy"] == "off"}
    for policy in dict.fromkeys(point["policy"] for point in here):
        line = sorted((p for p in here if p["policy"] == policy), key=lambda p: float(p["batch"]))
        batches = [point["batch"] for point in line]
        rates = [point["tokens_per_s"] / (off[point["batch"]] if ratio else 1) for point in line]
        colour, own = _COLOURS.get(policy, "#bbbbbb"), policy == "co_scheduled"
        axes.plot(batches, rates, color=colour, lw=2.4 if own else 1.2, label=policy, zorder=3 if own else 2)
        faces = [colour if point["fc_pim_ratio"] > _MOSTLY else "white" for point in line]
        axes.scatter(batches, rates, s=26, c=faces, edgecolors=colour, linewidths=1.2, zorder=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(off), [str(batch) for batch in sorted(off)])
    if ratio:
        axes.axhline(1, color="#bbbbbb", lw=0.8, zorder=1)
        axes.set_xlabel("batch")
    else:
        axes.set_yscale("log")
    axes.grid(color="#eeeeee", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
