"""How simulated values change when an assumed constant is a fifth larger or smaller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from papisim.config.system import load_system
from papisim.config.yaml import parse_path
from papisim.paper.choices import Assignments, Constant, Interpretation
from papisim.paper.figure import Paper
from papisim.paper.reproduce import reproduce
from papisim.paper.runner import Lab

#: relative change of a constant
STEP = 0.2


@dataclass(frozen=True)
class Effect:
    """The effect of one constant on one simulated value.

    Attributes:
        figure: the figure's name.
        claim: the claim's name.
        constant: the constant, in words.
        smaller: the value with the constant a fifth smaller.
        larger: the value with the constant a fifth larger.
    """

    figure: str
    claim: str
    constant: str
    smaller: float
    larger: float

    @property
    def span(self) -> float:
        """Distance of the two values; 0 where either is not a number."""
        span = abs(self.larger - self.smaller)
        return span if span == span else 0.0  # noqa: PLR0124 - only nan differs from itself


def effects(lab: Lab, paper: Paper, interpretation: Interpretation) -> Iterator[Effect]:
    """Yield the effect of every assumed constant on every value; one constant changes at a time."""
    for constant in paper.choices.constants.values():
        smaller, larger = (
            reproduce(lab, paper, interpretation, moved(paper, interpretation, constant, factor))
            for factor in (1 - STEP, 1 + STEP)
        )
        for low, high in zip(smaller, larger, strict=True):
            for claim, value in low.values.items():
                yield Effect(low.name, claim, constant.what, value, high.values[claim])


def moved(paper: Paper, interpretation: Interpretation, constant: Constant, factor: float) -> Assignments:
    """Return the assignments that multiply a constant by a factor, by machine."""
    assignments = {}
    for system, paths in paper.choices.places(constant).items():
        tree = load_system(system, paper.choices.overrides(interpretation, system)).resolved()
        assignments[system] = tuple(f"{path}={_at(tree, path) * factor!r}" for path in paths)
    return assignments


def _at(tree: Any, path: str) -> float:
    for step in parse_path(path):
        tree = tree[step]
    return float(tree)
