"""How decoding iterations are prepared and what comes of them: strategies, and stretches of equal iterations.

``Drawn``
    every iteration asks the speculation policy and draws which drafts are accepted.
``Steady``
    every request has equally many tokens in flight and accepts all drafts; only the caches' lengths change. Where a request has
    fewer tokens left, it drafts no further than its end.
``Overlapped``
    a steady iteration whose parts run at the same time (:mod:`papisim.engine.overlap`).
``Asynchronous``
    as ``Drawn``, with drafts made beside verification (:mod:`papisim.engine.asynchronous`).

Steady iterations follow one another without a decision between them, so a :class:`Stretch` prices many at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from papisim.arrays import Floats, Ints
from papisim.devices.base import AttentionRun
from papisim.engine.batch import Batch
from papisim.engine.overlap import Overlap
from papisim.engine.queues import ServerQueues
from papisim.engine.speculation import Speculator
from papisim.errors import NotModelled
from papisim.ops.lower import Prompts, decode_shape, ragged_lengths
from papisim.plan.layout import StepLayout
from papisim.plan.phase import Phase, TimedPhase, seconds
from papisim.plan.planner import Planner, StepWork
from papisim.policies.speculation.base import Draft
from papisim.record.ledger import DraftCount

#: iterations of the first stretch that an arrival may truncate, and of the longest; doubled while none does
_FIRST_STRETCH, _LONGEST_STRETCH = 16, 4096


class Iteration(NamedTuple):
    """A decoding iteration that is about to run, prompts beside it included.

    Attributes:
        rows: token-rows of each request, shape (RLP,) or the same for all; 0 of one that only drafts.
        work: its phases.
        overlapped_s: seconds saved by overlap: sum of phase times minus duration.
        drafts: drafts of each request, in batch order; empty where all are equal and accepted.
        prompts: prompts computed in the same step, if any.
        draft_steps: serial steps of a draft model.
        ahead: drafts of each request that are not verified in it, shape (RLP,), or the same for all.
        timed: phases as they run, where several run at once; None where they follow one another.
    """

    rows: Ints | int
    work: StepWork
    overlapped_s: float = 0.0
    drafts: Sequence[Draft] = ()
    prompts: Prompts | None = None
    draft_steps: int = 0
    ahead: Ints | int = 0
    timed: Sequence[TimedPhase] | None = None

    @property
    def room(self) -> Ints | int:
        """Tokens of each request that need room in the caches, shape (RLP,), or the same for all."""
        return self.rows + self.ahead

    def decoding(self, rlp: int) -> int:
        """Return the number of the ``rlp`` requests that decode in it: those with token-rows."""
        return rlp if isinstance(self.rows, int) else int(np.count_nonzero(self.rows))

    def total_rows(self, rlp: int) -> int:
        """Return the token-rows of all ``rlp`` requests that decode."""
        return rlp * self.rows if isinstance(self.rows, int) else int(self.rows.sum())


class Verified(NamedTuple):
    """What came of the drafts of an iteration.

    Attributes:
        tokens: tokens for each request: accepted drafts and the one that verification adds, shape (RLP,) or the same for all.
        drafted: draft tokens verified.
        accepted: draft tokens accepted.
        counts: drafts by length and acceptance.
        wasted: draft tokens made and never verified, as far as known now.
    """

    tokens: Ints | int
    drafted: int
    accepted: int
    counts: list[DraftCount]
    wasted: int = 0


class IterationStrategy(Protocol):
    """Prepares decoding iterations and settles them."""

    @property
    def tlp(self) -> float:
        """Token-rows of the next iteration per request that does not end in it, as far as known."""

    @property
    def stretch(self) -> Stretch | None:
        """Many iterations at once; None where every iteration is a step of its own."""

    def prepare(self, number: int, batch: Batch, prompts: Prompts | None, *, fold: bool) -> Iteration:
        """Return the iteration that is about to run.

        Args:
            number: number of the iteration.
            batch: the requests that decode.
            prompts: prompts computed in the same step, if any.
            fold: whether identical layers are multiplied.
        """

    def verify(self, batch: Batch, iteration: Iteration) -> Verified:
        """Accept drafts."""

    def leave(self, request_id: int) -> None:
        """Forget a request that has ended."""


class Drawn:
    """Iterations whose drafts the policy plans and the acceptance process judges.

    Args:
        speculator: policy, acceptance process and draft source.
    """

    stretch: Stretch | None = None

    def __init__(self, speculator: Speculator) -> None:
        self._speculator = speculator
        self._last_tlp = 1.0

    @property
    def tlp(self) -> float:
        """Token-rows per request: those of the policy if it always drafts as far, else those of the last iteration."""
        return float(self._speculator.policy.steady_tlp or self._last_tlp)

    def prepare(self, number: int, batch: Batch, prompts: Prompts | None, *, fold: bool) -> Iteration:
        """Return an iteration with the drafts that the policy plans."""
        drafted = self._speculator.prepare(number, batch, prompts, fold=fold)
        work, steps = (
            StepWork(StepLayout(), drafted.phases),
            max((draft.length for draft in drafted.drafts), default=0),
        )
        return Iteration(drafted.rows, work, drafts=drafted.drafts, prompts=prompts, draft_steps=steps)

    def verify(self, batch: Batch, iteration: Iteration) -> Verified:
        """Draw which drafts are accepted, and let the policy learn from them."""
        accepted, rounds = self._speculator.settle(batch, iteration.drafts)
        self._last_tlp = iteration.total_rows(len(batch)) / len(batch)
        return Verified(
            accepted,
            sum(each.draft.nodes for each in rounds),
            sum(each.accepted for each in rounds),
            [DraftCount(each.draft.length, each.accepted) for each in rounds],
        )

    def leave(self, request_id: int) -> None:
        """Forget the drafts of a request that has ended."""
        self._speculator.leave(request_id)


class Steady:
    """Iterations in which every request has ``tlp`` tokens in flight and accepts all drafts.

    Args:
        planner: turns steps into phases.
        speculator: the host's work.
        tlp: tokens in flight of each request.
        fast_forward: whether many iterations run at once.
    """

    def __init__(self, planner: Planner, speculator: Speculator, tlp: int, *, fast_forward: bool) -> None:
        self._planner, self._speculator, self._tlp = planner, speculator, tlp
        self._drawn = Drawn(speculator)
        self.stretch = Stretch(planner, speculator, tlp) if fast_forward else None

    @property
    def tlp(self) -> float:
        """Token-rows per request of every iteration."""
        return float(self._tlp)

    def prepare(self, number: int, batch: Batch, prompts: Prompts | None, *, fold: bool) -> Iteration:
        """Return an iteration with equally many tokens in flight for each request, none beyond its end."""
        if batch.least_remaining < self._tlp:
            return self._drawn.prepare(number, batch, prompts, fold=fold)._replace(drafts=(), draft_steps=0)
        rlp = len(batch)
        shape, lengths = decode_shape(rlp, rlp * self._tlp), batch.in_flight(self._tlp)
        if prompts is None:
            work = self._planner.work(shape, lengths, None, fold=fold)
        else:
            work = self._planner.work(shape.with_prompts(prompts), lengths, prompts.lengths, fold=fold)
        return Iteration(self._tlp, self.with_host(work, rlp), prompts=prompts)

    def with_host(self, work: StepWork, rlp: int) -> StepWork:
        """Return the work of an iteration with the host's part."""
        return StepWork(work.layout, work.phases + self._speculator.steady_host(rlp, self._tlp))

    def verify(self, batch: Batch, iteration: Iteration) -> Verified:
        """Accept every draft; a request with fewer tokens left has drafted no further than its end."""
        del iteration
        if batch.least_remaining >= self._tlp:
            return accept_all(len(batch), self._tlp)
        tokens = np.minimum(batch.remaining, self._tlp)
        drafts = [length - 1 for length in tokens.tolist()]
        return Verified(tokens, sum(drafts), sum(drafts), [DraftCount(length, length) for length in drafts if length])

    def leave(self, request_id: int) -> None:
        """Forget nothing: requests have no state here."""
        del request_id


class Overlapped(Steady):
    """Steady iterations whose parts run at the same time.

    Where a request has fewer tokens left than it drafts, its rows are padded to those of the request with most.

    Args:
        planner: turns steps into phases.
        speculator: the host's work.
        tlp: tokens in flight of each request.
        overlap: which parts run at the same time.
        fast_forward: whether iterations without overlap run many at once.
    """

    def __init__(
        self, planner: Planner, speculator: Speculator, tlp: int, overlap: Overlap, *, fast_forward: bool
    ) -> None:
        super().__init__(planner, speculator, tlp, fast_forward=fast_forward and not overlap.of_decoding)
        self._overlap = overlap

    def prepare(self, number: int, batch: Batch, prompts: Prompts | None, *, fold: bool) -> Iteration:
        """Return an iteration, overlapped with itself or with the prompts beside it."""
        if prompts is None and not self._overlap.of_decoding:
            return super().prepare(number, batch, prompts, fold=fold)
        tlp = min(self._tlp, int(batch.remaining.max()))
        together = self._overlap.step(batch, tlp, prompts, fold=fold)
        saved_s = together.work.time_s - together.time_s
        return Iteration(tlp, self.with_host(together.work, len(batch)), saved_s, prompts=prompts)


def accept_all(rlp: int, tlp: int, n: int = 1) -> Verified:
    """Return the drafts of ``n`` steady iterations, all of them accepted; ``drafted`` and ``accepted`` per iteration."""
    drafts = tlp - 1
    return Verified(tlp, rlp * drafts, rlp * drafts, [DraftCount(drafts, drafts, rlp * n)] if drafts else [])


class StretchWork(NamedTuple):
    """Many equal iterations.

    Attributes:
        layout: phases of each that it shares with other steps.
        host: further phases of each.
        growing: attention, which is longer in every iteration, and its costs.
        times_s: seconds of each iteration, shape (n,).
    """

    layout: StepLayout
    host: list[Phase]
    growing: list[tuple[Phase, AttentionRun]]
    times_s: Floats


class Stretch:
    """Many steady iterations at once.

    Args:
        planner: turns steps into phases.
        speculator: the host's work.
        tlp: tokens in flight of each request.

    Attributes:
        tlp: tokens in flight of each request.
    """

    def __init__(self, planner: Planner, speculator: Speculator, tlp: int) -> None:
        self._planner, self._speculator, self.tlp = planner, speculator, tlp
        self._most = _FIRST_STRETCH

    def fits(self, batch: Batch) -> bool:
        """Tell whether every request has as many tokens left as are in flight."""
        return batch.least_remaining >= self.tlp

    def iterations(self, batch: Batch, *, may_be_truncated: bool) -> int:
        """Return the number of whole iterations up to the first request's end, or to where an operator moves.

        They are fewer if an arrival may truncate them.
        """
        until_end = batch.least_remaining // self.tlp
        n, rlp = min(until_end, self._most) if may_be_truncated else until_end, len(batch)
        return self._planner.placed_alike(decode_shape(rlp, rlp * self.tlp), batch.in_flight(self.tlp), n)

    def ran(self, done: int, planned: int) -> None:
        """Adapt the length of the next stretch to the iterations that ran of those planned."""
        if done < planned:
            self._most = max(_FIRST_STRETCH, 2 * done)
        else:
            self._most = min(_LONGEST_STRETCH, 2 * max(self._most, planned))

    def prepare(self, batch: Batch, n: int, *, fold: bool) -> StretchWork:
        """Return ``n`` iterations of a batch.

        Args:
            batch: the requests that decode.
            n: iterations.
            fold: whether identical layers are multiplied.
        """
        rlp = len(batch)
        lengths = batch.in_flight(self.tlp)
        layout = self._planner.layout(decode_shape(rlp, rlp * self.tlp), lengths, fold=fold)
        growing = self._planner.growing(layout, lengths, n)
        host = self._speculator.steady_host(rlp, self.tlp)
        times_s = sum((run.time_s * phase.repeats for phase, run in growing), np.zeros(n))
        times_s += layout.time_s + seconds(host)
        return StretchWork(layout, host, growing, times_s)


def choose_strategy(
    planner: Planner, speculator: Speculator, overlap: Overlap, *, fast_forward: bool, is_watched: bool
) -> IterationStrategy:
    """Return the strategy that an experiment's iterations need.

    Args:
        planner: turns steps into phases.
        speculator: policy, acceptance process and draft source.
        overlap: which parts of a step run at the same time.
        fast_forward: whether equal iterations may run at once.
        is_watched: whether a probe wants every phase in order.

    Raises:
        NotModelled: overlap with drafts that may change, or watched.
    """
    tlp = speculator.steady_tlp
    if overlap.is_on:
        if is_watched or tlp is None:
            raise NotModelled("overlap with drafts that may change, or watched phase by phase, is not modelled")
        return Overlapped(planner, speculator, tlp, overlap, fast_forward=fast_forward)
    if fast_forward and not is_watched and tlp is not None:
        return Steady(planner, speculator, tlp, fast_forward=True)
    return Drawn(speculator)


def longest_iteration_s(planner: Planner, queues: ServerQueues, joining: int) -> float:
    """Return the seconds of a decoding iteration of all admitted requests and the first that wait.

    Nothing is drafted, and each cache is at its longest.

    Args:
        planner: turns steps into phases.
        queues: the requests of a server.
        joining: waiting requests that would join.
    """
    batch, others = queues.batch, [*queues.prefilling, *islice(queues.waiting, joining)]
    longest = np.array([request.longest_tokens for request in others], dtype=np.int64)
    cached = np.concatenate((batch.cached + batch.remaining, longest)) - 1
    rlp = len(cached)
    return planner.work(decode_shape(rlp, rlp), ragged_lengths(cached, np.ones(rlp, dtype=np.int64)), None).time_s
