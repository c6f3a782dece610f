"""What each published value becomes when a constant that we assumed is a fifth larger or smaller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from papisim.config.system import load_system
from papisim.config.yaml import parse_path
from papisim.paper.figure import Figure
from papisim.paper.lab import Lab
from papisim.paper.readings import Constant, Reading
from papisim.paper.reproduction import reproduce
from papisim.paper.study import Study

#: how far constants are moved
STEP = 0.2


@dataclass(frozen=True)
class Effect:
    """What moving one constant makes of one value.

    Attributes:
        figure: whose value.
        claim: the value.
        constant: what is moved.
        smaller: the value with the constant a fifth smaller.
        larger: the value with it a fifth larger.
    """

    figure: str
    claim: str
    constant: str
    smaller: float
    larger: float

    @property
    def span(self) -> float:
        """How far apart the two are; 0 where either is not a number."""
        span = abs(self.larger - self.smaller)
        return span if span == span else 0.0  # noqa: PLR0124 - only nan differs from itself


def effects(
    lab: Lab, reading: Reading, figures: Mapping[str, Figure], studies: Mapping[str, Study]
) -> Iterator[Effect]:
    """Yield the effect of every assumed constant on every value; a constant at a time, the others as they are."""
    for constant in lab.readings.constants.values():
        smaller, larger = (
            reproduce(lab, reading, figures, studies, moved(lab, reading, constant, factor))
            for factor in (1 - STEP, 1 + STEP)
        )
        for low, high in zip(smaller, larger, strict=True):
            for claim, value in low.values.items():
                yield Effect(low.name, claim, constant.what, value, high.values[claim])


def moved(lab: Lab, reading: Reading, constant: Constant, factor: float) -> dict[str, tuple[str, ...]]:
    """Return the assignments that multiply a constant, by machine."""
    assignments = {}
    for system, paths in lab.readings.places(constant).items():
        tree = load_system(system, lab.readings.overrides(reading, system)).resolved()
        assignments[system] = tuple(f"{path}={_at(tree, path) * factor!r}" for path in paths)
    return assignments


def _at(tree: Any, path: str) -> float:
    for step in parse_path(path):
        tree = tree[step]
    return float(tree)
