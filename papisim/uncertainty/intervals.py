"""Intervals on the figures of runs and on their ratios, the probability that one is better, and what dominates the uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from papisim import units
from papisim.engine.run import Run
from papisim.record.steps import DECODING, StepKind
from papisim.results.comparison import ratios
from papisim.results.metrics import summarise
from papisim.results.schema import Figures, UncertaintyColumns
from papisim.uncertainty.budget import Budget
from papisim.uncertainty.factor import Estimate, Quantity, Share, estimate, ratio, variance_shares

#: figures of a run that have intervals
FIGURES = ("throughput_tokens_per_s", "ttft_mean_s", "tpot_mean_s", "energy_per_token_j")
#: figures of a run that fall as a time or an energy rises
_RATES = frozenset({"throughput_tokens_per_s"})
#: ratios to a first run, and the figure of a run whose time or energy they are of
_RATIOS = {
    "speed_up_ratio": "throughput_tokens_per_s",
    "decode_speed_up_ratio": "tpot_mean_s",
    "energy_efficiency_ratio": "energy_per_token_j",
}


@dataclass(frozen=True)
class Interval:
    """A figure with its interval.

    Attributes:
        figure: name of the figure.
        value: the figure as simulated.
        estimate: estimate of the truth.
        shares: what dominates its variance, largest first.
        better: of a ratio, the probability that it is above 1; None of a figure.
    """

    figure: str
    value: float
    estimate: Estimate
    shares: tuple[Share, ...]
    better: float | None = None

    def row(self, machine: str) -> Figures:
        """Return the interval as a row of the frame ``uncertainty``."""
        first = self.shares[0] if self.shares else None
        return UncertaintyColumns(
            machine=machine,
            figure=self.figure,
            value=self.value,
            low=self.estimate.low,
            mid=self.estimate.mid,
            high=self.estimate.high,
            better_probability=self.better,
            dominant_factor=None if first is None else first.factor.name,
            dominant_variance_ratio=None if first is None else first.ratio,
            dominant_source=None if first is None else f"{first.factor.origin}: {first.factor.source}",
        ).as_json()


@dataclass(frozen=True)
class Uncertain:
    """A run with the quantities that its figures are made of."""

    run: Run

    @cached_property
    def summary(self) -> Figures:
        """The figures of the run."""
        return summarise(self.run)

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """The time or energy that each figure of the run is proportional to, or, of a rate, inversely so."""
        budget = Budget(self.run)
        found = {
            "throughput_tokens_per_s": budget.time().times(budget.served("throughput")),
            "ttft_mean_s": budget.time(StepKind.PREFILL, StepKind.MIXED).times(budget.served("ttft")),
            "tpot_mean_s": budget.time(*DECODING).times(budget.served("tpot")),
            "energy_per_token_j": budget.energy,
        }
        return {name: each for name, each in found.items() if each.modelled and self.summary[name]}

    @property
    def intervals(self) -> list[Interval]:
        """The interval of each figure."""
        return [self._interval(name, quantity) for name, quantity in self.quantities.items()]

    def _interval(self, name: str, quantity: Quantity) -> Interval:
        value, sign = self.summary[name], -1 if name in _RATES else 1
        off = estimate(quantity).over(quantity.modelled)
        return Interval(name, value, off.to_the(sign).times(value), tuple(variance_shares(quantity)))


def ratio_intervals(runs: Sequence[Uncertain]) -> list[list[Interval]]:
    """Return the intervals of the ratios of each run to the first, none of the first itself."""
    found = ratios(tuple("" for _ in runs), [each.summary for each in runs])
    return [[], *(list(_ratios(runs[0], this, row)) for this, row in zip(runs[1:], found[1:], strict=True))]


def _ratios(first: Uncertain, this: Uncertain, row: Figures) -> list[Interval]:
    intervals = []
    for name, figure in _RATIOS.items():
        if row[name] is None or figure not in first.quantities or figure not in this.quantities:
            continue
        one, other = first.quantities[figure], this.quantities[figure]
        off = ratio(one, other).over(one.modelled / other.modelled).times(row[name])
        intervals.append(Interval(name, row[name], off, tuple(variance_shares(one, other)), off.above(1.0)))
    return intervals


def uncertainty_rows(labels: Sequence[str], runs: Sequence[Run]) -> list[Figures]:
    """Return the rows of the frame ``uncertainty``: figures of each run, and ratios to the first."""
    uncertain = [Uncertain(run) for run in runs]
    return [
        interval.row(label)
        for label, each, compared in zip(labels, uncertain, ratio_intervals(uncertain), strict=True)
        for interval in (*each.intervals, *compared)
    ]


def interval_ends(run: Run) -> dict[str, float]:
    """Return the ends of the interval of each figure of a run, ``throughput_low_tokens_per_s`` and so on."""
    return {
        _end(interval.figure, end): getattr(interval.estimate, end)
        for interval in Uncertain(run).intervals
        for end in ("low", "high")
    }


def _end(figure: str, end: str) -> str:
    unit = units.unit_of(figure)
    return f"{figure.removesuffix(f'_{unit}')}_{end}_{unit}"


#: names of the ends of all intervals
END_NAMES = frozenset(_end(figure, end) for figure in FIGURES for end in ("low", "high"))
