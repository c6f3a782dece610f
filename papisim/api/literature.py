"""Figures of the literature, simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from papisim.errors import NotModelled
from papisim.paper.figure import Paper, choose
from papisim.paper.reproduce import Reproduced, orders_kept, scores
from papisim.paper.reproduce import reproduce as simulate_figures
from papisim.paper.runner import Lab
from papisim.paper.sensitivity import Effect, effects
from papisim.results.schema import Figures

if TYPE_CHECKING:
    import pandas as pd

#: the paper whose figures are reproduced if none is named
DEFAULT = "papi"


@dataclass(frozen=True)
class Reproduction:
    """Reproduced figures of a paper.

    Attributes:
        paper: the paper with these figures.
        interpretation: name of the interpretation.
        reproduced: the figures.
        moved: effects of the assumed constants, if they were moved.
    """

    paper: Paper
    interpretation: str
    reproduced: Sequence[Reproduced]
    moved: Sequence[Effect]

    @property
    def chosen(self) -> Figures:
        """The interpretation's name and alternatives; nothing for a paper that leaves nothing open."""
        if not self.paper.choices.choices:
            return {}
        taken = self.paper.choices.interpretation(self.interpretation)
        return {"interpretation": self.interpretation, "alternatives": taken}

    @property
    def summary(self) -> Figures:
        """The values that ``papisim reproduce --format json`` prints."""
        return {
            "schema": "papisim/claims/1",
            "paper": self.paper.name,
            **self.chosen,
            "scores": self.scores,
            "orders_kept": orders_kept(self.reproduced),
            "claims": self.claims(),
        }

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """``claims``, the data of each figure by its name, and ``sensitivity`` if constants were moved."""
        import pandas as pd  # noqa: PLC0415 - slow to import

        frames = {"claims": pd.DataFrame(self.claims())}
        frames |= {each.name: pd.DataFrame(each.table) for each in self.reproduced}
        if self.moved:
            frames["sensitivity"] = pd.DataFrame([asdict(effect) for effect in self.moved])
        return frames

    @property
    def scores(self) -> dict[str, float]:
        """Scores, where all figures that count were reproduced."""
        every = choose((self.paper.name,), DEFAULT)
        scored = {name for name, study in every.studies.items() if study.published.scored}
        return scores(self.reproduced) if scored and scored <= set(self.paper.figures) else {}

    def claims(self) -> list[Figures]:
        """All rows as plain values, each with the effect of the constants on it."""
        head = {"interpretation": self.interpretation} if self.chosen else {}
        return [
            {**head, **asdict(row), "sensitivity": self.ranges(each).get(row.claim, "")}
            for each in self.reproduced
            for row in each.rows
        ]

    def ranges(self, figure: Reproduced) -> dict[str, str]:
        """The range of each value of a figure over the constant that moves it most, in words."""
        most: dict[str, Effect] = {}
        for effect in self.moved:
            if effect.figure == figure.name and (effect.claim not in most or effect.span > most[effect.claim].span):
                most[effect.claim] = effect
        claims = figure.study.published.claims
        return {
            claims[claim].what: f"{effect.smaller:.3g} … {effect.larger:.3g} ({effect.constant})"
            if effect.span
            else "none"
            for claim, effect in most.items()
        }


def reproduce(
    *figures: str,
    interpretation: str = "physical",
    sensitivity: bool = False,
    processes: int | None = 1,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Reproduction:
    """Simulate what the literature claims, as ``papisim reproduce`` does.

    Args:
        *figures: ``fig7``, ``eq4`` … of the PAPI paper, ``speculation`` or one of its systems; all of the PAPI paper, if none.
        interpretation: answers to what the paper leaves open: ``physical`` or ``paper``.
        sensitivity: also change each assumed constant by ±20 %.
        processes: number of processes; one per core, if None. A script that starts processes must do so below
            ``if __name__ == "__main__":``.
        progress: called with the number of finished runs and of all runs.

    Raises:
        InputError: no such figure or interpretation.
        NotModelled: sensitivity of a paper without assumed constants.
    """
    paper = choose(figures, DEFAULT)
    taken = paper.choices.interpretation(interpretation)
    if sensitivity and not paper.choices.constants:
        raise NotModelled(f"--sensitivity: {paper.title} names no assumed constants")
    lab = Lab(paper.choices, processes, progress)
    reproduced = simulate_figures(lab, paper, taken)
    moved = list(effects(lab, paper, taken)) if sensitivity else []
    return Reproduction(paper, interpretation, reproduced, moved)
