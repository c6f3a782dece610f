"""Points of a sweep side by side: a horizontal axis, one line per machine and policy, one facet per remaining input.

No figure is averaged: a facet has the points of one model and one value of every other input, and each ratio is to the
first line at the same place of the same facet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from papisim import units
from papisim.results.comparison import improvement, label_of
from papisim.results.folder import Json

if TYPE_CHECKING:
    import pandas as pd

#: inputs that name what is compared: machines first, then policies
LINES = ("hw", "placement", "engine", "speculation", "draft", "batching", "router")
#: inputs that are the horizontal axis where they vary, in this order
_ACROSS = ("batch", "requests", "replicas", "tlp")
#: units of figures of which less is better
_SPENT = frozenset({"s", "j", "w", "mm2"})

#: a figure of a point, or None where the point has none
Figure = float | None


@dataclass(frozen=True)
class Layout:
    """The inputs of a sweep by their part in a drawing.

    Attributes:
        across: the horizontal axis.
        lines: inputs whose values together name a line.
        facets: inputs whose values together name a facet.
    """

    across: str
    lines: tuple[str, ...]
    facets: tuple[str, ...]

    @classmethod
    def of(cls, points: pd.DataFrame, inputs: Sequence[str], across: str | None = None) -> Layout | None:
        """Return the layout of a sweep's inputs, or None where no input can be the horizontal axis.

        Args:
            points: the frame of the sweep.
            inputs: its inputs that vary.
            across: the horizontal axis. If None, the batch size or, failing that, the first input with numbers.
        """
        lines = tuple(name for name in LINES if name in inputs and name != across)
        others = [name for name in inputs if name not in lines]
        ordered = [
            *(name for name in _ACROSS if name in others),
            *(name for name in others if _is_numeric(points, name)),
        ]
        chosen = across or next(iter([*ordered, *others]), None)
        if chosen is None:
            return None
        return cls(chosen, lines, tuple(name for name in others if name != chosen))


@dataclass(frozen=True)
class Facet:
    """The points of one facet.

    Attributes:
        title: its inputs and their values.
        across: values of the horizontal axis.
        lines: by label: the figure at each value of the horizontal axis.
        ratios: by label: the ratio to the first line, above 1 where it is better.
    """

    title: str
    across: list[object]
    lines: dict[str, list[Figure]]
    ratios: dict[str, list[Figure]]


def facets(points: pd.DataFrame, layout: Layout, figure: str) -> Iterator[Facet]:
    """Yield the facets of a sweep, in the order of its points.

    Args:
        points: the frame of the sweep; a row without the figure is an empty place.
        layout: which input is what.
        figure: the column that is compared.
    """
    across = _distinct(points[layout.across])
    rows = _rows(points, layout, figure)
    labels = list(dict.fromkeys(line_label(row, layout.lines) for row in rows))
    found = {
        (_title(row, layout.facets), line_label(row, layout.lines), row[layout.across]): _number(row[figure])
        for row in rows
    }
    for title in dict.fromkeys(_title(row, layout.facets) for row in rows):
        lines = {label: [found.get((title, label, each)) for each in across] for label in labels}
        first = lines[labels[0]]
        ratios = {
            name: [_gain(figure, *pair) for pair in zip(first, line, strict=True)] for name, line in lines.items()
        }
        yield Facet(title, across, lines, ratios)


def with_ratios(points: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Return the points with their speed and energy efficiency over those of the first line at the same place.

    The ratios are those of a comparison (``speed_up_ratio``, ``energy_efficiency_ratio``): of makespans, and of energies.
    """
    compared = points.copy()
    for column, figure in (("speed_up_ratio", "makespan_s"), ("energy_efficiency_ratio", "energy_j")):
        rows = _rows(points, layout, figure)
        first: dict[tuple[object, ...], Figure] = {}
        for row in rows:
            if line_label(row, layout.lines) == line_label(rows[0], layout.lines):
                first[_place(row, layout)] = _number(row[figure])
        compared[column] = [improvement(first.get(_place(row, layout)), _number(row[figure])) for row in rows]
    return compared


def _rows(points: pd.DataFrame, layout: Layout, figure: str) -> list[Json]:
    """Return the inputs and a figure of each point; None where it has none."""
    names = [layout.across, *layout.lines, *layout.facets, figure]
    kept = points.reindex(columns=names).astype(object)
    return [
        {str(name): value for name, value in row.items()} for row in kept.where(kept.notna(), None).to_dict("records")
    ]


def _place(row: Json, layout: Layout) -> tuple[object, ...]:
    return tuple(row[name] for name in (layout.across, *layout.facets))


def line_label(row: Json, names: Sequence[str]) -> str:
    """Return the name of a machine and its policies: ``papi@pinned:gpu + dsde``; ``all`` where none is named."""
    values = {name: str(row[name]) for name in names if row.get(name) is not None}
    machine = "@".join(values.pop(name) for name in ("hw", "placement") if name in values)
    speculation = values.pop("speculation", None)
    first = label_of(machine, speculation) if machine else speculation
    return " + ".join(part for part in (first, *values.values()) if part) or "all"


def less_is_better(figure: str) -> bool:
    """Whether a smaller value of a figure is better: time, energy, power, area."""
    return units.unit_of(figure) in _SPENT


def _gain(figure: str, first: Figure, this: Figure) -> Figure:
    return improvement(first, this) if less_is_better(figure) else improvement(this, first)


def _title(row: Json, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {row[name]}" for name in names if row[name] is not None)


def _number(value: object) -> Figure:
    return float(value) if isinstance(value, (int, float)) else None


def _distinct(values: pd.Series) -> list[object]:
    found = list(dict.fromkeys(values.dropna().tolist()))
    return sorted(found) if all(isinstance(each, (int, float)) for each in found) else found


def _is_numeric(points: pd.DataFrame, name: str) -> bool:
    return all(isinstance(each, (int, float)) for each in _distinct(points[name]))
