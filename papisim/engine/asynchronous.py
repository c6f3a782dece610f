"""Asynchronous drafting: the draft model goes on while the target model verifies (SADDLE, Wang et al., HPCA 2026).

The draft model runs step after step, each for every request whose draft is incomplete. Drafts are in the pool as soon as they are made.
A verification takes all requests with drafts in the pool, and those that draft nothing. It starts when the target model is free and

- the pool holds ``pool_tokens`` drafts, or
- every request's draft is complete.

Beside it the draft model drafts for the requests that the verification does not take, and, if drafting is ``eager``, on from the drafts that
it does take. An eager draft begins with a guess of the token that the verification adds. It survives if every draft before it is accepted
and the guess is that token, which happens with the probability that one more draft would have been accepted. The notes on SADDLE say that
eager drafts move to the pool if all drafts before them are accepted, and do not say what becomes of the target's own token; this rule keeps
the tokens of a synchronous run. All others are discarded. A policy's dynamic stop judges the chain of unverified drafts as one.

The two streams share devices and links (:func:`papisim.engine.overlap.beside`). A draft step that is under way when the verification ends
goes on into the next iteration; it is charged where it began. Every draft is accepted, rejected or wasted: guesses are wasted, since
verification yields that token anyway, and so are discarded drafts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from papisim.arrays import Ints
from papisim.engine.batch import Batch
from papisim.engine.drafting.base import ScheduleSpec, SerialDrafting
from papisim.engine.iterations import Iteration, Stretch, Verified
from papisim.engine.overlap import Overlap, beside
from papisim.engine.rounds import Rounds, Verdict
from papisim.engine.speculation import Speculator, round_of, shorten
from papisim.errors import NotModelled
from papisim.ops.lower import Prompts
from papisim.plan.layout import StepLayout
from papisim.plan.machine import Machine
from papisim.plan.phase import Phase, TimedPhase, one_by_one, seconds
from papisim.plan.planner import StepWork
from papisim.policies.speculation.base import Draft
from papisim.record.ledger import DraftCount


class Job(NamedTuple):
    """The draft of a request that is being made.

    Attributes:
        draft: the draft as planned.
        guesses: 1 if the first step guesses the token that the verification before adds; else 0.
        made: steps that have ended.
        is_stepping: whether a step is under way.
        preemptions: preemptions of the request when the draft began; another one loses its cache.
    """

    draft: Draft
    guesses: int = 0
    made: int = 0
    is_stepping: bool = False
    preemptions: int = 0

    @property
    def ready(self) -> int:
        """Drafts in the pool."""
        return max(0, self.made - self.guesses)

    @property
    def steps_left(self) -> int:
        """Steps that have not ended."""
        return self.draft.length + self.guesses - self.made

    @property
    def spent(self) -> int:
        """Tokens that the draft model has begun to make."""
        return self.made + self.is_stepping


class _Drafter:
    """Runs the draft model over jobs.

    Args:
        source: the draft source.
        jobs: the jobs by request.
        cached: tokens in each request's cache when the first draft of its job is made.
        rest: what is left of the step under way.
        fold: whether identical layers are multiplied in what is charged.

    Attributes:
        jobs: the jobs by request.
        cached: as given.
        phases: phases of the steps that have begun.
        n_steps: steps that have begun.
        folds_time: whether identical layers are multiplied in what takes time; they must not be where a device is shared.
    """

    def __init__(
        self,
        source: SerialDrafting,
        jobs: dict[int, Job],
        cached: dict[int, int],
        rest: Sequence[Phase],
        *,
        fold: bool,
    ) -> None:
        self._source, self._rest, self._fold = source, rest, fold
        self.jobs, self.cached = jobs, cached
        self.phases: list[Phase] = []
        self.n_steps = 0
        self.folds_time = fold

    def begin(self) -> Sequence[Phase]:
        """Begin the next step, the one before having ended; returns its phases, none if every draft is complete."""
        if self._rest:
            rest, self._rest = self._rest, ()
            return rest
        self.end()
        drafting = {request: job for request, job in self.jobs.items() if job.steps_left}
        if not drafting:
            return []
        self.jobs.update((request, job._replace(is_stepping=True)) for request, job in drafting.items())
        self.n_steps += 1
        places = [self.cached[request] + job.made - job.guesses for request, job in drafting.items()]
        cached, rows = np.array(places, dtype=np.int64), np.ones(len(places), dtype=np.int64)
        first = any(not job.made and not job.guesses for job in drafting.values())
        charged = self._source.step(cached, rows, first=first, fold=self._fold)
        self.phases += charged
        return (
            charged
            if self.folds_time == self._fold
            else self._source.step(cached, rows, first=first, fold=self.folds_time)
        )

    def spent(self, request: int) -> int:
        """Return the tokens of a request that are made or being made."""
        job = self.jobs.get(request)
        return 0 if job is None else job.spent

    def end(self) -> None:
        """End the step under way."""
        for request, job in self.jobs.items():
            if job.is_stepping:
                self.jobs[request] = job._replace(made=job.made + 1, is_stepping=False)


@dataclass(frozen=True)
class _Prepared:
    """An iteration that is about to run.

    Attributes:
        drafts: what each request that is verified has drafted.
        jobs: the jobs when the verification has ended, eager ones included.
        rest: what is left of the draft step under way then.
        wasted: drafts that no job keeps.
        has_begun: whether the first phase of ``rest`` has begun.
    """

    drafts: dict[int, Draft]
    jobs: dict[int, Job]
    rest: tuple[Phase, ...]
    wasted: int
    has_begun: bool = False


class Asynchronous:
    """Iterations whose drafts are made beside the verification of others.

    Args:
        speculator: policy, acceptance process and verification.
        source: the draft source.
        schedule: when the draft model runs.
        exclusive: devices of which one works at a time, since they share a memory.
    """

    stretch: Stretch | None = None

    def __init__(
        self, speculator: Speculator, source: SerialDrafting, schedule: ScheduleSpec, exclusive: frozenset[str]
    ) -> None:
        self._speculator, self._source, self._schedule, self._exclusive = speculator, source, schedule, exclusive
        self._jobs: dict[int, Job] = {}
        self._rounds: dict[int, Rounds] = {}
        self._rest: tuple[Phase, ...] = ()
        self._has_begun = False
        self._wasted = 0
        self._prepared = _Prepared({}, {}, (), 0)
        self._last_tlp = 1.0

    @property
    def tlp(self) -> float:
        """Token-rows per request: those of the policy if it always drafts as far, else those of the last iteration."""
        return float(self._speculator.policy.steady_tlp or self._last_tlp)

    def prepare(self, number: int, batch: Batch, prompts: Prompts | None, *, fold: bool) -> Iteration:
        """Return the verification of what is in the pool, and the drafting before and beside it."""
        jobs = self._resume(number, batch, prompts)
        requests = tuple(jobs)
        cached = dict(zip(requests, batch.cached.tolist(), strict=True))
        drafter = _Drafter(self._source, jobs, cached, self._rest, fold=fold)
        timed = self._fill(drafter)
        lead_s = seconds(each.phase for each in timed)
        drafts = {
            request: shorten(job.draft, job.ready) for request, job in jobs.items() if job.ready or not job.steps_left
        }
        wasted = self._draft_ahead(number, batch, drafter, drafts)
        takes = np.array([request in drafts for request in requests])
        rows = np.zeros(len(requests), dtype=np.int64)
        rows[takes] = self._speculator.rows_of(list(drafts.values()))
        verifying = self._verify_phases(list(drafts.values()), batch.cached[takes], rows[takes], prompts, fold=fold)
        drafter.folds_time = not self._contends(verifying)
        served = verifying
        if drafter.folds_time != fold:
            served = self._verify_phases(
                list(drafts.values()), batch.cached[takes], rows[takes], prompts, fold=drafter.folds_time
            )
        together = beside(served, drafter.begin, self._exclusive)
        if not together.rest:
            drafter.end()
        timed += [TimedPhase(lead_s + begins_s, phase) for begins_s, phase in together.served]
        if self._has_begun:  # the step before has the whole phase
            timed = [each for each in timed if each.phase is not self._rest[0]]
        self._prepared = _Prepared(drafts, drafter.jobs, together.rest, wasted, together.has_begun)
        phases = [*drafter.phases, *verifying]
        saved_s = seconds(phases) - lead_s - together.time_s
        work = StepWork(StepLayout(), phases)
        ahead = np.array([drafter.spent(request) for request in requests], dtype=np.int64)
        return Iteration(rows, work, saved_s, prompts=prompts, draft_steps=drafter.n_steps, ahead=ahead, timed=timed)

    def verify(self, batch: Batch, iteration: Iteration) -> Verified:
        """Draw which drafts are accepted, discard the eager ones that follow another, and let the policy learn."""
        prepared = self._prepared
        verdicts = {request: self._rounds[request].verify(draft.length) for request, draft in prepared.drafts.items()}
        self._keep(prepared, verdicts)
        rounds = [
            round_of(request, prepared.drafts[request], verdict.outcome) for request, verdict in verdicts.items()
        ]
        self._speculator.policy.observe(rounds)
        tokens = np.zeros(len(batch), dtype=np.int64)
        tokens[[request in verdicts for request in batch.request_ids]] = [each.accepted + 1 for each in rounds]
        self._last_tlp = iteration.total_rows(len(batch)) / len(rounds)
        wasted, self._wasted = self._wasted, 0
        return Verified(
            tokens,
            sum(each.draft.nodes for each in rounds),
            sum(each.accepted for each in rounds),
            [DraftCount(each.draft.length, each.accepted) for each in rounds],
            wasted,
        )

    def leave(self, request_id: int) -> None:
        """Forget a request that has ended, and its drafts."""
        self._discard(self._jobs.pop(request_id, None))
        self._rounds.pop(request_id, None)
        self._speculator.leave(request_id)

    def _resume(self, number: int, batch: Batch, prompts: Prompts | None) -> dict[int, Job]:
        """Return the job of each request; those without one get it, as the policy plans."""
        for request in batch.requests:
            job = self._jobs.get(request.request_id)
            if job is not None and job.preemptions != request.preemptions:
                self._discard(self._jobs.pop(request.request_id))
        if any(request not in self._jobs for request in batch.request_ids):
            self._plan(number, batch, prompts)
        return {request: self._jobs[request] for request in batch.request_ids}

    def _plan(self, number: int, batch: Batch, prompts: Prompts | None) -> None:
        planned = self._speculator.plan(number, batch, batch.cached, batch.remaining, prompts)
        preemptions = {
            request.request_id: request.preemptions
            for request in batch.requests
            if request.request_id not in self._jobs
        }
        drafts = {
            request: _chain(draft, self._round(request).longest)
            for request, draft in zip(batch.request_ids, planned, strict=True)
            if request in preemptions
        }
        proposals = [self._round(request).proposal(draft.length) for request, draft in drafts.items()]
        kept = self._speculator.cut(list(drafts), list(drafts.values()), proposals)
        for request, draft in zip(drafts, kept, strict=True):
            self._jobs[request] = Job(draft, preemptions=preemptions[request])

    def _fill(self, drafter: _Drafter) -> list[TimedPhase]:
        """Draft until a verification starts; returns the phases, which follow one another."""
        phases, threshold = list[Phase](), self._schedule.pool_tokens
        while any(job.steps_left for job in drafter.jobs.values()):
            if threshold is not None and sum(job.ready for job in drafter.jobs.values()) >= threshold:
                break
            phases += drafter.begin()
            drafter.end()
        return one_by_one(phases)

    def _draft_ahead(self, number: int, batch: Batch, drafter: _Drafter, drafts: Mapping[int, Draft]) -> int:
        """Give the requests that are verified eager jobs, as far as the policy plans any; returns the drafts wasted."""
        eager = self._eager(number, batch, drafts) if self._schedule.eager else {}
        wasted = 0
        for request, draft in drafts.items():
            job = drafter.jobs.pop(request)
            if request in eager:
                drafter.cached[request] += draft.length + 1
                drafter.jobs[request] = Job(eager[request], 1, 0, job.is_stepping, job.preemptions)
            else:
                wasted += job.is_stepping
        return wasted

    def _eager(self, number: int, batch: Batch, drafts: Mapping[int, Draft]) -> dict[int, Draft]:
        """Return the drafts that requests make after those being verified; a request that makes none is left out."""
        lengths = np.array([drafts[request].length + 1 if request in drafts else 0 for request in batch.request_ids])
        planned = self._speculator.plan(number + 1, batch, batch.cached + lengths, batch.remaining - lengths)
        following = {
            request: _chain(draft)
            for request, draft in zip(batch.request_ids, planned, strict=True)
            if draft.length and request in drafts
        }
        chains, proposals = [], []
        for request, draft in following.items():
            rounds, verified = self._round(request), drafts[request].length
            rounds.settle(self._jobs[request].draft.length)
            chains.append(Draft(verified + 1 + draft.length))
            proposals.append(rounds.chain(verified, draft.length))
        kept = self._speculator.cut(list(following), chains, proposals)
        left = {
            request: chain.length - drafts[request].length - 1 for request, chain in zip(following, kept, strict=True)
        }
        return {request: shorten(following[request], n) for request, n in left.items() if n > 0}

    def _keep(self, prepared: _Prepared, verdicts: Mapping[int, Verdict]) -> None:
        """Keep the jobs whose drafts are worth something after a verification."""
        before, self._jobs = self._jobs, {}
        for request, job in prepared.jobs.items():
            if request not in verdicts:
                self._jobs[request] = job
            elif not verdicts[request].goes_on:
                self._wasted += job.spent
            elif job.spent:
                self._jobs[request] = job
                self._wasted += job.guesses
            else:
                self._jobs[request] = job._replace(guesses=0)
        for request in before.keys() - prepared.jobs.keys() - verdicts.keys():
            self._discard(before[request])
        self._rest, self._has_begun = prepared.rest, prepared.has_begun
        self._wasted += prepared.wasted

    def _discard(self, job: Job | None) -> None:
        """Count the drafts of a job as wasted; a guess that an earlier verification has confirmed was counted then."""
        if job is not None:
            self._wasted += job.spent - job.guesses

    def _verify_phases(
        self, drafts: Sequence[Draft], cached: Ints, rows: Ints, prompts: Prompts | None, *, fold: bool
    ) -> list[Phase]:
        phases = self._source.verify(drafts, cached, rows, prompts, fold=fold)
        return [*phases, *self._speculator.sampling(phases, len(rows), float(rows.mean()))]

    def _contends(self, verifying: Sequence[Phase]) -> bool:
        """Tell whether drafting and verification need the same device, link or memory."""
        needed = {phase.resource for phase in verifying}
        if needed & self._exclusive and self._source.resources & self._exclusive:
            return True
        return bool(needed & self._source.resources)

    def _round(self, request: int) -> Rounds:
        if request not in self._rounds:
            self._rounds[request] = Rounds(self._speculator.sequence(request))
        return self._rounds[request]


def _chain(draft: Draft, longest: int | None = None) -> Draft:
    """Return a draft that may be made ahead, no longer than the round that it belongs to is settled for.

    Raises:
        NotModelled: the draft is a tree.
    """
    if draft.tree is not None:
        raise NotModelled("drafting.schedule asynchronous with trees of drafts; choose a policy that drafts chains")
    return draft if longest is None else shorten(draft, min(draft.length, longest))


def check_schedule(schedule: ScheduleSpec, machine: Machine, overlap: Overlap) -> None:
    """Refuse what is not modelled together with a schedule.

    Raises:
        NotModelled: the schedule is not modelled, or not with the machine or the overlap.
    """
    if schedule.kind == "pre_verification":
        raise NotModelled(
            "drafting.schedule pre_verification (AHASD): what is published does not say what becomes of drafts that the drafter's device "
            "has verified; choose asynchronous"
        )
    if machine.stages > 1:
        raise NotModelled("drafting.schedule asynchronous in a pipeline of stages is not modelled")
    if overlap.is_on:
        raise NotModelled(
            "drafting.schedule asynchronous together with overlap of the target's kernels is not modelled"
        )
