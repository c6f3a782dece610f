"""One decoding iteration with speculation: draft, verify, accept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np

from papisim.acceptance.always import Acceptance as Always
from papisim.acceptance.base import AcceptanceProcess, Outcome, Tree
from papisim.acceptance.base import Sequence as AcceptanceSequence
from papisim.arrays import Ints
from papisim.config.experiment import VerificationSpec
from papisim.engine.batch import Batch
from papisim.engine.drafting.base import DraftSource
from papisim.engine.drafting.free import Source as Free
from papisim.engine.host import Host, StepSize
from papisim.ops.cost import Energy
from papisim.ops.lower import Prompts
from papisim.plan.machine import HOST
from papisim.plan.phase import Category, Phase, seconds
from papisim.policies.speculation.base import Draft, Proposal, Round, SpeculationPolicy, SpeculationView

_NOTHING_PROPOSED = Proposal((), ())


@dataclass(frozen=True)
class DraftedIteration:
    """A decoding iteration with its drafts.

    Attributes:
        drafts: drafts of each request, in batch order.
        rows: token-rows verified for each request, padding included, shape (RLP,).
        phases: drafting, verification and the host's work in between.
    """

    drafts: tuple[Draft, ...]
    rows: Ints
    phases: list[Phase]


@dataclass
class Speculator:
    """Runs the speculation of one server.

    Attributes:
        policy: plans drafts.
        acceptance: judges drafts.
        source: prices drafting and verification.
        verification: how drafts are verified.
        host: prepares iterations; None where that is counted elsewhere.
        decision_s: seconds of the scheduler's decision before an iteration.
    """

    policy: SpeculationPolicy
    acceptance: AcceptanceProcess
    source: DraftSource
    verification: VerificationSpec
    host: Host | None = None
    decision_s: float = 0.0
    _sequences: dict[int, AcceptanceSequence] = field(default_factory=dict)

    @cached_property
    def steady_tlp(self) -> int | None:
        """Tokens in flight of each request, if equal in every iteration and always accepted; None otherwise.

        Steady iterations differ in nothing but the caches' lengths. They are not steady where drafts, their acceptance, or
        the host's remaining work may change from one iteration to the next.
        """
        tlp, spec = self.policy.steady_tlp, self.verification
        hidden = spec.overlap_bookkeeping and spec.bookkeeping_s > 0
        drafts = tlp is not None and tlp > 1
        if hidden or (drafts and not (isinstance(self.acceptance, Always) and isinstance(self.source, Free))):
            return None
        return tlp

    def steady_host(self, rlp: int, tlp: int) -> list[Phase]:
        """Return the host's phases of a steady iteration."""
        if not (self.verification.bookkeeping_s or self.verification.sampling_row_s):
            return []
        return self.sampling((), rlp, float(tlp))

    def prepare(
        self, number: int, batch: Batch, prompts: Prompts | None = None, *, fold: bool = True
    ) -> DraftedIteration:
        """Plan the drafts of an iteration, and lay out its phases.

        Args:
            number: number of the iteration.
            batch: the requests that decode.
            prompts: prompts computed in the same step, if any.
            fold: whether identical layers are multiplied.
        """
        planned = self.plan(number, batch, batch.cached, batch.remaining, prompts)
        proposals = [
            self._propose(request, draft) if draft.length else _NOTHING_PROPOSED
            for request, draft in zip(batch.request_ids, planned, strict=True)
        ]
        drafts = tuple(self.cut(batch.request_ids, planned, proposals))
        rows = self.rows_of(drafts)
        return DraftedIteration(drafts, rows, self._phases(drafts, batch.cached, rows, prompts, fold=fold))

    def plan(
        self, number: int, batch: Batch, cached: Ints, left: Ints, prompts: Prompts | None = None
    ) -> list[Draft]:
        """Return the drafts that the policy plans, none beyond a request's end.

        Args:
            number: number of the iteration.
            batch: the requests that decode.
            cached: tokens in each request's cache when the drafts are verified, shape (RLP,).
            left: tokens that each request has left to emit then, shape (RLP,).
            prompts: prompts computed in the same step, if any.
        """
        most = np.maximum(left, 1).tolist()
        view = SpeculationView(
            number,
            batch.request_ids,
            lambda drafts: self.price_s(drafts, cached, prompts),
            tokens_left=tuple(most),
            cached=tuple(cached.tolist()),
        )
        return [
            shorten(draft, min(draft.length, n - 1)) for draft, n in zip(self.policy.plan(view), most, strict=True)
        ]

    def cut(self, requests: Sequence[int], planned: Sequence[Draft], proposals: Sequence[Proposal]) -> list[Draft]:
        """Return the drafts of requests as far as the policy lets them go, having seen what the draft source proposes."""
        lengths = self.policy.cut(requests, planned, proposals)
        return [shorten(draft, length) for draft, length in zip(planned, lengths, strict=True)]

    def price_s(self, drafts: Sequence[Draft], cached: Ints, prompts: Prompts | None = None) -> float:
        """Return the seconds of an iteration with given drafts."""
        return seconds(self._as_run(self._phases(drafts, cached, self.rows_of(drafts), prompts), drafts))

    def phases(self, drafts: Sequence[Draft], cached: Ints) -> list[Phase]:
        """Return the phases of an iteration with given drafts; no draft is judged and no policy learns.

        Args:
            drafts: drafts of each request.
            cached: tokens in each request's cache, shape (RLP,).
        """
        return self._as_run(self._phases(drafts, cached, self.rows_of(drafts), None), drafts)

    def _as_run(self, phases: list[Phase], drafts: Sequence[Draft]) -> list[Phase]:
        """Return phases, the scheduler's decision, and the time by which the engine's host lengthens them."""
        if self.decision_s:
            phases = [*phases, Phase(HOST, Category.OTHER, self.decision_s, Energy())]
        if self.host is None or self.host.is_free:
            return phases
        size = StepSize(len(drafts), len(drafts), drafts=sum(draft.length for draft in drafts))
        added_s = self.host.added_s(size, seconds(phases))
        return [*phases, Phase(HOST, Category.HOST, added_s, Energy())]

    def settle(self, batch: Batch, drafts: Sequence[Draft]) -> tuple[Ints, list[Round]]:
        """Verify the drafts of an iteration, and let the policy learn from them.

        Args:
            batch: the requests that decode.
            drafts: drafts of each request, in batch order.

        Returns:
            Tokens for each request: its accepted drafts and the one that verification adds, shape (RLP,); and the round
            of each request.
        """
        rounds = [self._verify(request, draft) for request, draft in zip(batch.request_ids, drafts, strict=True)]
        self.policy.observe(rounds)
        return np.array([each.accepted + 1 for each in rounds], dtype=np.int64), rounds

    def leave(self, request_id: int) -> None:
        """Forget a request that has ended."""
        self._sequences.pop(request_id, None)
        self.policy.leave(request_id)

    def sequence(self, request_id: int) -> AcceptanceSequence:
        """Return the acceptance of a request's drafts."""
        sequence = self._sequences.get(request_id)
        if sequence is None:
            sequence = self._sequences[request_id] = self.acceptance.start(request_id)
        return sequence

    def _propose(self, request_id: int, draft: Draft) -> Proposal:
        shown = self.sequence(request_id).proposal(draft.length, draft.exit_layer)
        return Proposal(shown.confidence, shown.entropy)

    def _verify(self, request_id: int, draft: Draft) -> Round:
        sequence = self.sequence(request_id)
        if draft.tree is None:
            outcome = sequence.round(draft.length, draft.exit_layer)
        else:
            outcome = sequence.round_tree(tree_of(draft.tree))
        return round_of(request_id, draft, outcome)

    def rows_of(self, drafts: Sequence[Draft]) -> Ints:
        """Return the token-rows verified for each request, padding included, shape (RLP,)."""
        rows = np.array([draft.rows for draft in drafts], dtype=np.int64)
        return np.full_like(rows, rows.max(initial=0)) if self.verification.padding else rows

    def _phases(
        self, drafts: Sequence[Draft], cached: Ints, rows: Ints, prompts: Prompts | None, *, fold: bool = True
    ) -> list[Phase]:
        drafting = self.source.draft(drafts, cached, fold=fold)
        verifying = self.source.verify(drafts, cached, rows, prompts, fold=fold)
        return [*drafting, *verifying, *self.sampling(drafting + verifying, len(rows), float(rows.mean()))]

    def sampling(self, work: Sequence[Phase], rlp: int, mean_rows: float) -> list[Phase]:
        """Return sampling, and the bookkeeping of the last iteration as far as this one does not hide it.

        The rank with most requests to sample, ``ceil(RLP / ranks)``, sets the time.
        """
        spec = self.verification
        bookkeeping_s = spec.bookkeeping_s
        if spec.overlap_bookkeeping:
            bookkeeping_s = max(0.0, bookkeeping_s - seconds(work))
        sampled_rows = mean_rows * math.ceil(rlp / spec.sampling_ranks)
        time_s = bookkeeping_s + sampled_rows * spec.sampling_row_s
        return [Phase(HOST, Category.OTHER, time_s, Energy())] if time_s else []


def shorten(draft: Draft, length: int) -> Draft:
    """Return the first positions of a draft."""
    if length == draft.length:
        return draft
    return replace(draft, length=length, tree=None if draft.tree is None else draft.tree[:length])


def round_of(request_id: int, draft: Draft, outcome: Outcome) -> Round:
    """Return the round of a request's draft, for a policy to learn from."""
    told = [each for each in (outcome.prompt, outcome.layers) if each is not None]
    agrees = np.concatenate([each.agrees for each in told]).T.tolist() if told else ()
    confidence = np.concatenate([each.confidence for each in told]).T.tolist() if told else ()
    return Round(
        request_id,
        draft,
        outcome.accepted,
        confidence=outcome.confidence,
        kld=outcome.kld,
        layer_matches=tuple(map(tuple, agrees)),
        layer_confidence=tuple(map(tuple, confidence)),
        prompt=0 if outcome.prompt is None else len(outcome.prompt.agrees),
    )


@cache
def tree_of(widths: tuple[int, ...]) -> Tree:
    """Return the tree of given widths whose paths are the draft's likeliest.

    Nodes of a depth are given to the children of the depth above in the order of the sum of ranks along their paths:
    first choices of first choices before second choices.

    Args:
        widths: nodes at each depth, from the first.
    """
    level: list[tuple[int, ...]] = [()]
    tree: list[tuple[int, ...]] = []
    for width in widths:
        children = sorted(
            ((*path, rank) for path in level for rank in range(width)), key=lambda path: (sum(path), path)
        )
        level = children[:width]
        tree += level
    return tuple(tree)
