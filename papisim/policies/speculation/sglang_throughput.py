"""SGLang's throughput-aware length: expected tokens per profiled time, by position, with hysteresis.

    score(k) = (1 + P_1 + … + P_k) / T(b, k),      P_j the share of requests that accepted at least j drafts,

each P_j the mean of its last iterations, shared by all batch sizes. A position that was never drafted continues the geometric mean of the
steps before it, P_j = P_{j−1} (P_n / P_1)^{1/(n−1)} of the n known ones (P_1 again for one). When every current position has a full
window, and once in some iterations, the candidate with the largest score is taken if its score is larger than the current one's by
the hysteresis. A shorter choice forgets the positions beyond it.

Behaviour of ``ThroughputAwarePolicy`` (sgl-project/sglang #28045). SGLang profiles T at start-up on one context; here it is the
simulator's cost model, on the contexts at hand. Extrapolation within the pull request is described as geometric without its formula.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

from papisim.config.base import Count, NonNegative
from papisim.kinds import Example
from papisim.policies.speculation.base import Draft, Round, SpeculationView
from papisim.policies.speculation.whole_batch import CandidateOptions, Planned, WholeBatch


class Options(CandidateOptions):
    """Candidates and how they are chosen among.

    Attributes:
        window: iterations that a position's share is averaged over.
        update_interval: iterations between decisions.
        switch_hysteresis: share by which another candidate's score must be larger.
    """

    kind: Literal["sglang_throughput"]
    window: Count
    update_interval: Count
    switch_hysteresis: NonNegative


EXAMPLE = Example("sglang_throughput")


class Speculation(WholeBatch):
    """All requests draft the candidate with the largest score."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options
        self._windows: list[deque[float]] = [deque(maxlen=options.window) for _ in range(options.longest)]
        first = options.candidates[0].lengths
        self._current = first[len(first) // 2]
        self._since = 0

    def choose(self, view: SpeculationView) -> int:
        """Return the current length, or a better one if it is time to decide."""
        lengths = self._options.candidates[self._options.slot(view.rlp)].lengths
        if self._current not in lengths:
            return self._best(lengths, view) if any(self._windows) else lengths[len(lengths) // 2]
        if self._since < self._options.update_interval or not self._is_warm():
            return self._current
        best = self._best(lengths, view)
        margin = 1 + self._options.switch_hysteresis
        return best if self._score(best, view) > margin * self._score(self._current, view) else self._current

    def learn(self, planned: Planned, rounds: Sequence[Round]) -> None:
        """Adopt what was planned, and note what each position accepted."""
        if planned.length < self._current:
            for window in self._windows[planned.length :]:
                window.clear()
        due = self._since >= self._options.update_interval
        self._since = 1 if planned.length != self._current or (due and self._is_warm()) else self._since + 1
        self._current = planned.length
        drafted = [seen.accepted for seen in rounds if seen.draft.length == planned.length]
        for position in range(1, planned.length + 1 if drafted else 1):
            self._windows[position - 1].append(sum(accepted >= position for accepted in drafted) / len(drafted))

    def _is_warm(self) -> bool:
        return all(len(window) == self._options.window for window in self._windows[: self._current])

    def shares(self, length: int) -> list[float]:
        """Return P_1, …, P_length, extrapolated beyond the known positions."""
        known = [sum(window) / len(window) for window in self._windows[:length] if window]
        if not known:
            return [1.0] * length
        ratio = (known[-1] / known[0]) ** (1 / (len(known) - 1)) if len(known) > 1 and known[0] else known[0]
        while len(known) < length:
            known.append(known[-1] * ratio)
        return known

    def _score(self, length: int, view: SpeculationView) -> float:
        return (1 + sum(self.shares(length))) / view.price_s([Draft(length)] * view.rlp)

    def _best(self, lengths: Sequence[int], view: SpeculationView) -> int:
        return max(lengths, key=lambda length: self._score(length, view))
