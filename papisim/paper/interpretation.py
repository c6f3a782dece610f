"""The interpretation study: which reading fits what a paper prints, what none reaches, and what each choice does to it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from papisim.paper.crossing import Axes, Counted, Key, cross, evaluate
from papisim.paper.figure import Figure
from papisim.paper.lab import Lab
from papisim.paper.reproduction import all_cells
from papisim.paper.score import ORDERED, numbers, score
from papisim.paper.study import Study
from papisim.paper.verdict import Claim

_KEPT = 200  # readings that are listed


@dataclass(frozen=True, order=True)
class Scored:
    """A reading and how it fits.

    Attributes:
        score: mean ``|ln(simulated / published)|`` over the numbers that the paper states.
        read_off: the same with those read off its figures.
        reading: alternatives by choice.
        values: what it makes of every number, by ``figure.claim``.
        orders: whether it keeps all orders and crossovers.
    """

    score: float
    read_off: float = field(compare=False)
    reading: dict[str, str] = field(compare=False)
    values: dict[str, float] = field(compare=False)
    orders: bool = field(compare=False)


@dataclass(frozen=True)
class Range:
    """What all readings together make of a published number, and whether any comes as near as the claim's tolerance."""

    figure: str
    claim: str
    published: float
    smallest: float
    largest: float
    reached: bool


@dataclass(frozen=True)
class Interpretation:
    """What the study found.

    Attributes:
        n_readings: how many readings were scored.
        n_runs: how many simulations they were put together from.
        n_too_large: readings of which some batch does not fit the memory; they have no score.
        best: the best readings, whatever they do to orders.
        ordered: the best readings that keep every order.
        ranges: what readings make of each number.
        effects: for each choice, alternative and number, the geometric mean over all other choices, over that of the
            physical alternative.
        quantiles: of all scores.
    """

    n_readings: int
    n_runs: int
    n_too_large: int
    best: Sequence[Scored]
    ordered: Sequence[Scored]
    ranges: Sequence[Range]
    effects: Sequence[dict[str, Any]]
    quantiles: dict[str, float]


class _Tally:
    """Goes through the product one way of counting at a time, and keeps what is asked of all of it."""

    def __init__(self, axes: Axes, studies: Mapping[str, Study]) -> None:
        self.axes, self.studies = axes, studies
        self.stated, self.all = numbers(studies), numbers(studies, read_off=True)
        self.ranges: dict[Key, tuple[float, float]] = {}
        self.means: dict[tuple[str, str, Key], list[float]] = {}
        self.best: list[Scored] = []
        self.ordered: list[Scored] = []
        self.scores: list[np.ndarray] = []

    def add(self, counted: Counted) -> None:
        """Take in all readings of one way of counting."""
        scores = np.broadcast_to(score(self.stated, counted.values), self.axes.shape)
        read_off = np.broadcast_to(score(self.all, counted.values), self.axes.shape)
        orders = np.broadcast_to(self._orders(counted), self.axes.shape)
        self.scores.append(scores.ravel())
        for key in self.all:
            self._note(key, counted)
        for kept, among in ((self.best, scores), (self.ordered, np.where(orders, scores, np.nan))):
            flat = np.where(np.isnan(among), np.inf, among).ravel()
            for index in np.argsort(flat, kind="stable")[:_KEPT]:
                if np.isfinite(flat[index]):
                    place = np.unravel_index(index, self.axes.shape)
                    kept.append(self._scored(counted, place, scores, read_off, orders))
            kept[:] = heapq.nsmallest(_KEPT, kept)

    def _scored(self, counted: Counted, place: Any, *arrays: np.ndarray) -> Scored:
        scores, read_off, orders = arrays
        reading = {name: self.axes.taken[name][index] for name, index in zip(self.axes.simulated, place, strict=True)}
        values = {
            f"{figure}.{claim}": float(np.broadcast_to(counted.values[figure, claim], self.axes.shape)[place])
            for figure, claim in self.all
        }
        return Scored(
            float(scores[place]), float(read_off[place]), reading | counted.counting, values, bool(orders[place])
        )

    def _orders(self, counted: Counted) -> Any:
        kept: Any = True
        for name in ORDERED:
            if name in self.studies:
                for claim, entry in self.studies[name].published.claims.items():
                    if (name, claim) in counted.values:
                        kept = np.logical_and(kept, _holds(entry, counted.values[name, claim]))
        return kept

    def _note(self, key: Key, counted: Counted) -> None:
        values = np.asarray(counted.values[key], dtype=np.float64)
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
        for name, alternative in counted.counting.items():
            self.means.setdefault((name, alternative, key), []).append(float(np.nanmean(logs)))

    def effects(self) -> list[dict[str, Any]]:
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


def _holds(entry: Claim, value: Any) -> Any:
    """Tell for each reading whether an order is kept; a number within its tolerance counts as one."""
    if isinstance(entry.claimed, str):
        side, bound = entry.claimed, entry.neutral or 0.0
        return value > bound if side == "above" else value < bound
    return np.abs(value / entry.claimed - 1) <= entry.tolerance_ratio


def interpret(lab: Lab, axes: Axes, figures: Mapping[str, Figure], studies: Mapping[str, Study]) -> Interpretation:
    """Run the product of choices and score every reading.

    Args:
        lab: where runs are made.
        axes: the choices that are crossed.
        figures: by name; all that are scored or whose orders count.
        studies: what is published.
    """
    cells = all_cells(figures, studies)
    runs = cross(lab, axes, cells)
    tally = _Tally(axes, {name: studies[name] for name in figures})
    for counted in evaluate(axes, runs, figures, studies):
        tally.add(counted)
    scores = np.concatenate(tally.scores)
    known = scores[np.isfinite(scores)]
    return Interpretation(
        n_readings=scores.size,
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
        near = tally.studies[figure].published.claims[claim].tolerance_ratio * published
        reached = smallest - near <= published <= largest + near
        found.append(Range(figure, claim, published, smallest, largest, reached))
    return found


def rows(scored: Iterable[Scored]) -> list[dict[str, Any]]:
    """Return readings as rows of a table."""
    return [
        {"score": each.score, "score_read_off": each.read_off, "orders": each.orders, **each.reading, **each.values}
        for each in scored
    ]
