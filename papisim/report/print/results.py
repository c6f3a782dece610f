"""Results as a figure for a paper: which column is drawn over which, with which error bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from papisim import units
from papisim.errors import InputError, did_you_mean
from papisim.report.facets import Facet, Layout, facets
from papisim.report.print.paper import Errors, Plot
from papisim.results.folder import Results

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["lines", "bars", "energy"]

#: by kind of results: the frame that is drawn
_FRAMES = {"sweep": "frame", "comparison": "comparison"}
#: factors of SI prefixes, from the largest
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
#: units without prefixes
_PLAIN = frozenset({"tokens_per_s", "ratio", "mm2"})


def plot_of(
    results: Results, kind: Kind | None, figure: str, across: str | None, *, width: str, ratios: bool, log: bool
) -> Plot:
    """Lay out a figure of results.

    Args:
        results: a sweep, with a line per machine and policy and a panel per value of its other inputs; a comparison, with a
            bar per machine; for ``energy`` a run or a comparison.
        kind: marks; ``energy`` is bars of energy by part. If None, lines for a sweep, else bars.
        figure: the column that is drawn.
        across: the horizontal axis. If None, the batch size, or else the first input with numbers that varies.
        width: ``column`` or ``page``.
        ratios: draw ratios to the first machine and policy at the same place.
        log: a logarithmic vertical axis.

    Raises:
        InputError: results of this kind have no figure, or no such column.
    """
    if kind == "energy":
        return _energy(results, width)
    if results.kind not in _FRAMES:
        hint = did_you_mean(results.kind, _FRAMES)
        message = f"no figure of results of kind '{results.kind}' but --kind energy; {hint}"
        raise InputError(message, file=str(results.folder), field="kind")
    frame = results.frame(_FRAMES[results.kind])
    for column in (figure, across):
        if column is not None and column not in frame:
            raise InputError(
                f"no column '{column}'; {did_you_mean(column, map(str, frame.columns))}", file=str(results.folder)
            )
    layout = _layout(results, frame, across)
    if ratios and not layout.lines:
        raise InputError(
            "--ratio needs several machines or policies; a comparison has columns such as speed_up_ratio"
        )
    found = list(facets(frame, layout, figure))
    if not any(value is not None for facet in found for line in facet.lines.values() for value in line):
        raise InputError(f"column '{figure}' has no numbers", file=str(results.folder))
    marks = kind or ("lines" if results.kind == "sweep" else "bars")
    errors = _errors(results, figure, found[0].across)
    if ratios:
        return Plot(marks, found, _name(layout.across), f"gain in {_name(figure)} (×)", width, ratios=True, log=log)
    scaled, unit, factor = _in_unit(found, figure)
    spans = {
        label: [each and (each[0] / factor, each[1] / factor) for each in ends] for label, ends in errors.items()
    }
    label = f"{_name(figure)} ({unit})" if unit else _name(figure)
    return Plot(marks, scaled, _name(layout.across), label, width, log=log, errors=spans)


def _layout(results: Results, frame: pd.DataFrame, across: str | None) -> Layout:
    if results.kind == "comparison":
        return Layout("machine", (), ())
    inputs = [name for name in results.manifest["inputs"] if name in frame and frame[name].nunique(dropna=False) > 1]
    layout = Layout.of(frame, inputs, across)
    if layout is None or across not in {None, *inputs}:
        raise InputError(f"no input '{across}' varies; {', '.join(inputs) or 'none'} do", file=str(results.folder))
    return layout


def _errors(results: Results, figure: str, across: list[object]) -> Errors:
    """Return the 90 % intervals of a comparison that was made with ``--uncertainty``."""
    if "uncertainty" not in results.frame_names or results.kind != "comparison":
        return {}
    rows = results.frame("uncertainty")
    known = {row["machine"]: (row["low"], row["high"]) for row in rows[rows["figure"] == figure].to_dict("records")}
    return {"all": [known.get(machine) for machine in across]} if known else {}


def _energy(results: Results, width: str) -> Plot:
    """Return bars of energy by part, one per machine or, of a single run, per device."""
    frame = results.frame("energy")
    across = "machine" if "machine" in frame else "resource"
    table = frame.pivot_table(index=across, columns="part", values="energy_j", aggfunc="sum", sort=False).fillna(0.0)
    table = table.loc[:, table.sum() > 0]
    lines = {str(part).removesuffix("_j").replace("_", " "): table[part].tolist() for part in table.columns}
    facet = Facet("", [str(each) for each in table.index], lines, {})
    ((scaled,), unit, _) = _in_unit([facet], "energy_j")
    return Plot("stacked", [scaled], "" if across == "machine" else "device", f"energy ({unit})", width)


def _in_unit(found: list[Facet], figure: str) -> tuple[list[Facet], str | None, float]:
    """Return facets in the prefix of the largest value, with the unit and the factor."""
    unit = units.unit_of(figure)
    if unit is None or unit == "ratio":
        return found, None, 1.0
    symbol = units.format(1.0, unit).split(" ", 1)[1]
    if unit in _PLAIN:
        return found, symbol, 1.0
    largest = max(
        abs(value) for facet in found for line in facet.lines.values() for value in line if value is not None
    )
    factor, prefix = next((each for each in _PREFIXES if largest >= each[0]), (1.0, ""))
    scaled = [
        Facet(
            facet.title,
            facet.across,
            {
                label: [None if value is None else value / factor for value in line]
                for label, line in facet.lines.items()
            },
            facet.ratios,
        )
        for facet in found
    ]
    return scaled, f"{prefix}{symbol}", factor


def _name(column: str) -> str:
    """Return a column's name as the label of an axis: without the suffix of its unit."""
    unit = units.unit_of(column)
    name = column if unit is None or "." in column else column[: -len(unit)].rstrip("_")
    return {"hw": "machine", "trace": "model"}.get(name, name.replace("_", " ") or column)
