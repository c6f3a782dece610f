"""Ranks all interpretations of a paper: which fits the published numbers best, which numbers none reaches, and what each choice does."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from papisim.arrays import Bools, Floats
from papisim.paper.all_choices import Axes, Evaluated, cross, evaluate
from papisim.paper.claims import Key, Value, numbers, order_holds, score
from papisim.paper.figure import Paper
from papisim.paper.runner import Lab
from papisim.results.schema import Figures

_KEPT = 200  # interpretations that are listed


@dataclass(frozen=True, order=True)
class Scored:
    """An interpretation and its score.

    Attributes:
        score: mean ``|ln(simulated / published)|`` over the numbers that the paper states.
        read_off: the same with the numbers that are read off its figures.
        interpretation: alternatives by choice.
        values: the simulated value of every number, by ``figure.claim``.
        orders: whether the interpretation keeps all orders and crossovers.
    """

    score: float
    read_off: float = field(compare=False)
    interpretation: dict[str, str] = field(compare=False)
    values: dict[str, float] = field(compare=False)
    orders: bool = field(compare=False)


@dataclass(frozen=True)
class Range:
    """The values of a published number over all interpretations.

    Attributes:
        figure: the figure's name.
        claim: the claim's name.
        published: the published value.
        smallest: smallest simulated value.
        largest: largest simulated value.
        reached: whether the range, widened by the claim's tolerance, has the published value.
    """

    figure: str
    claim: str
    published: float
    smallest: float
    largest: float
    reached: bool


@dataclass(frozen=True)
class Ranking:
    """All interpretations, scored.

    Attributes:
        n_interpretations: number of interpretations.
        n_runs: number of simulations that they are assembled from.
        n_too_large: interpretations in which some batch does not fit the memory; they have no score.
        best: the interpretations with the best scores.
        ordered: those with the best scores among the interpretations that keep every order.
        ranges: the values of each number.
        effects: for each choice, alternative and number, the geometric mean over all other choices, over that of the
            physical alternative.
        quantiles: quantiles of all scores.
    """

    n_interpretations: int
    n_runs: int
    n_too_large: int
    best: Sequence[Scored]
    ordered: Sequence[Scored]
    ranges: Sequence[Range]
    effects: Sequence[Figures]
    quantiles: dict[str, float]


class _Tally:
    """Collects the statistics of all interpretations, one way of evaluating the runs at a time."""

    def __init__(self, axes: Axes, paper: Paper) -> None:
        self.axes, self.paper = axes, paper
        self.stated, self.all = numbers(paper.studies), numbers(paper.studies, read_off=True)
        self.ranges: dict[Key, tuple[float, float]] = {}
        self.means: dict[tuple[str, str, Key], list[float]] = {}
        self.best: list[Scored] = []
        self.ordered: list[Scored] = []
        self.scores: list[Floats] = []

    def add(self, evaluated: Evaluated) -> None:
        """Add all interpretations with one way of evaluating the runs."""
        shape = self.axes.shape
        scores = np.broadcast_to(score(self.stated, evaluated.values), shape)
        read_off = np.broadcast_to(score(self.all, evaluated.values), shape)
        orders = np.broadcast_to(self._orders(evaluated), shape)
        self.scores.append(scores.ravel())
        for key in self.all:
            self._note(key, evaluated)
        for kept, among in ((self.best, scores), (self.ordered, np.where(orders, scores, np.nan))):
            flat = np.where(np.isnan(among), np.inf, among).ravel()
            for index in np.argsort(flat, kind="stable")[:_KEPT]:
                if np.isfinite(flat[index]):
                    place = np.unravel_index(index, shape)
                    fit = float(scores[place]), float(read_off[place])
                    kept.append(self._scored(evaluated, place, fit, orders=bool(orders[place])))
            kept[:] = heapq.nsmallest(_KEPT, kept)

    def _scored(
        self, evaluated: Evaluated, place: tuple[np.intp, ...], fit: tuple[float, float], *, orders: bool
    ) -> Scored:
        taken = {name: self.axes.taken[name][index] for name, index in zip(self.axes.simulated, place, strict=True)}
        values = {f"{figure}.{claim}": self._at(place, evaluated.values[figure, claim]) for figure, claim in self.all}
        return Scored(*fit, taken | evaluated.evaluation, values, orders)

    def _at(self, place: tuple[np.intp, ...], value: Value) -> float:
        return float(np.broadcast_to(value, self.axes.shape)[place])

    def _orders(self, evaluated: Evaluated) -> Bools:
        kept = np.array(True)
        for name, study in self.paper.studies.items():
            for claim, entry in study.published.claims.items() if study.published.ordered else ():
                kept = np.logical_and(kept, order_holds(entry, evaluated.values[name, claim]))
        return kept

    def _note(self, key: Key, evaluated: Evaluated) -> None:
        values = np.asarray(evaluated.values[key], dtype=np.float64)
        smallest, largest = self.ranges.get(key, (np.inf, -np.inf))
        self.ranges[key] = (
            float(np.fmin.reduce(values, axis=None, initial=smallest)),
            float(np.fmax.reduce(values, axis=None, initial=largest)),
        )
        logs = np.log(np.broadcast_to(values, np.broadcast_shapes(values.shape, (1,) * len(self.axes.shape))))
        for axis, name in enumerate(self.axes.simulated):
            others = tuple(index for index in range(logs.ndim) if index != axis)
            along = np.broadcast_to(np.nanmean(logs, axis=others), (len(self.axes.taken[name]),))
            for alternative, mean in zip(self.axes.taken[name], along, strict=True):
                self.means.setdefault((name, alternative, key), []).append(float(mean))
        for name, alternative in evaluated.evaluation.items():
            self.means.setdefault((name, alternative, key), []).append(float(np.nanmean(logs)))

    def effects(self) -> list[Figures]:
        """Return each alternative's effect on each number."""
        means = {key: float(np.mean(several)) for key, several in self.means.items()}
        return [
            {
                "choice": name,
                "alternative": alternative,
                "figure": key[0],
                "claim": key[1],
                "ratio": float(np.exp(mean - means[name, self.axes.taken[name][0], key])),
            }
            for (name, alternative, key), mean in means.items()
            if alternative != self.axes.taken[name][0]
        ]


def rank(lab: Lab, axes: Axes, paper: Paper) -> Ranking:
    """Run the product of choices and score every interpretation.

    Args:
        lab: runs the cells.
        axes: the choices that are crossed.
        paper: the figures; all that are scored or whose orders count.
    """
    runs = cross(lab, axes, paper.cells)
    tally = _Tally(axes, paper)
    for evaluated in evaluate(axes, runs, paper):
        tally.add(evaluated)
    scores = np.concatenate(tally.scores)
    known = scores[np.isfinite(scores)]
    return Ranking(
        n_interpretations=scores.size,
        n_runs=lab.n_records,
        n_too_large=scores.size - known.size,
        best=tally.best,
        ordered=tally.ordered,
        ranges=_ranges(tally),
        effects=tally.effects(),
        quantiles={f"p{q}": float(np.percentile(known, q)) for q in (0, 1, 10, 50, 90)},
    )


def _ranges(tally: _Tally) -> list[Range]:
    found = []
    for (figure, claim), (smallest, largest) in tally.ranges.items():
        published = tally.all[figure, claim]
        near = tally.paper.studies[figure].published.claims[claim].tolerance_ratio * published
        reached = smallest - near <= published <= largest + near
        found.append(Range(figure, claim, published, smallest, largest, reached))
    return found


def rows(scored: Iterable[Scored]) -> list[Figures]:
    """Return interpretations as rows of a table."""
    return [
        {
            "score": each.score,
            "score_read_off": each.read_off,
            "orders": each.orders,
            **each.interpretation,
            **each.values,
        }
        for each in scored
    ]
