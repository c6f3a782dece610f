"""What a module of a paper's figure works with, and what it makes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from papisim.errors import NotModelled, did_you_mean
from papisim.paper.cell import Cell
from papisim.paper.lab import Bench
from papisim.paper.outcomes import Outcomes, Value
from papisim.paper.study import Study
from papisim.report.print.chart import Chart

#: rows of a figure's data
Table = list[dict[str, Any]]


@dataclass(frozen=True)
class View:
    """A figure's entry, the runs of its cells, and the devices of its machines."""

    study: Study
    outcomes: Outcomes
    bench: Bench

    def setting(self, name: str) -> Any:
        """Return a setting of the figure's experiment."""
        return self.study.figure(name)


class Figure(Protocol):
    """A module of a paper's package."""

    CHART: Chart

    def cells(self, study: Study) -> list[Cell]:
        """Return the experiments that the figure needs."""

    def values(self, view: View) -> dict[str, Value]:
        """Return what is simulated for each of the figure's claims."""

    def table(self, view: View) -> Table:
        """Return the figure's data, in one reading."""


def figures(package: str) -> dict[str, Figure]:
    """Return the figures of a paper, by name, in the order in which they are printed."""
    home = importlib.import_module(f"papisim.paper.{package}")
    names = sorted((info.name for info in pkgutil.iter_modules(home.__path__)), key=_printed)
    found: dict[str, Any] = {name: importlib.import_module(f"{home.__name__}.{name}") for name in names}
    return found


def choose(known: Mapping[str, Figure], wanted: tuple[str, ...]) -> list[str]:
    """Return the figures that are wanted, all if none is named.

    Raises:
        NotModelled: there is none of a name.
    """
    for name in wanted:
        if name not in known:
            raise NotModelled(
                f"'{name}' is not reproduced; {did_you_mean(name, [*known, 'speculation', 'readings'])}"
            )
    return [name for name in known if not wanted or name in wanted]


def _printed(name: str) -> tuple[int, str]:
    number = "".join(letter for letter in name if letter.isdigit())
    return (int(number) if name.startswith("fig") else 1000, name)
