"""Cascade: draft while it is worth its cost, judged in short tests (Saxena et al., arXiv:2506.20675; for mixtures of experts).

The utility of a length k is

    U(k) = (tokens per iteration with k) / (time of an iteration with k / time of one without drafts),

the gain of speculation over its cost, which for mixtures of experts grows with every drafted token, since each wakes experts of its own.
A *test* of some iterations measures U of one length. If it is below 1, drafting is off for the following *set* of iterations, which doubles with
each test that fails in a row; else the next longer length is tested, and so on while utility rises, and the best is kept for the set.

Notes on the paper have utility, test, set and the back-off; numbers of iterations are assumed. The paper decodes one request; here the batch is
one, with one length for all, and utility is of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from papisim.config.base import Count, Width
from papisim.kinds import Example
from papisim.policies.speculation.base import NO_DRAFT, BoundedOptions, Round, SpeculationView
from papisim.policies.speculation.whole_batch import Planned, WholeBatch, tokens


class Options(BoundedOptions):
    """Hyper-parameters.

    Attributes:
        max_length: longest draft that is tested.
        first_length: the first one that is.
        test_iterations: of one length.
        set_iterations: for which a decision holds.
        longest_pause: doublings of a set in which drafting is off.
    """

    kind: Literal["cascade"]
    first_length: Width
    test_iterations: Count
    set_iterations: Count
    longest_pause: Count


EXAMPLE = Example("cascade")


class Speculation(WholeBatch):
    """The batch drafts the length under test, or the one that won."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options
        self._plain_s = 0.0
        self._failures = 0
        self._start_test(options.first_length, best=(1.0, 0))

    def _start_test(self, length: int, best: tuple[float, int]) -> None:
        """Test a length next.

        Args:
            length: to test.
            best: largest utility so far and its length; that of no drafts is 1.
        """
        self._length, self._best, self._testing = length, best, True
        self._left = self._options.test_iterations
        self._tokens_per_cost: list[float] = [0.0, 0.0]

    def choose(self, view: SpeculationView) -> int:
        """Return the length under test, or in force."""
        self._plain_s = view.price_s([NO_DRAFT] * view.rlp)
        return self._length

    def learn(self, planned: Planned, rounds: Sequence[Round]) -> None:
        """Count an iteration of a test or a set, and decide at its end."""
        self._left -= 1
        if self._testing:
            self._tokens_per_cost[0] += tokens(rounds) / len(rounds)
            self._tokens_per_cost[1] += planned.time_s / self._plain_s
        if self._left:
            return
        if self._testing:
            self._judge(self._tokens_per_cost[0] / self._tokens_per_cost[1])
        else:
            self._start_test(self._length or self._options.first_length, best=(1.0, 0))

    def _judge(self, utility: float) -> None:
        """Climb on while utility rises, else set the best length."""
        if utility > self._best[0]:
            self._best = utility, self._length
            if self._length < self._options.max_length:
                self._start_test(self._length + 1, self._best)
                return
        _, self._length = self._best
        self._failures = self._failures + 1 if self._length == 0 else 0
        doublings = min(max(0, self._failures - 1), self._options.longest_pause)
        self._testing, self._left = False, self._options.set_iterations * 2**doublings
