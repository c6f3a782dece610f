"""What every batching policy must do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from papisim.conformance import running
from papisim.conformance.law import Subject, expect, random
from papisim.policies.batching.base import BatchingOptions, BatchingPolicy, BatchingView

Batched: TypeAlias = Subject[BatchingOptions, BatchingPolicy]

_CASES = 300
_LARGEST = 64
_MOST_TOKENS = 3000


@dataclass(frozen=True)
class _Waits:
    prompt_left: int
    arrival_s: float = 0.0


def _views(subject: Batched) -> Iterator[BatchingView]:
    """Yield many states of a server: a batch no larger than the options allow, and room for some that wait."""
    rng, size, policy = random(subject), _size(subject), subject.build()
    for _ in range(_CASES):
        waiting = tuple(_Waits(rng.randint(1, _MOST_TOKENS), rng.random()) for _ in range(rng.choice((0, 1, 5, 60))))
        prefilling = [rng.randint(1, _MOST_TOKENS) for _ in range(rng.randint(0, min(4, size)))]
        running_ = rng.randint(0, size - len(prefilling))
        room = len(waiting) if policy.must_fit else rng.randint(0, len(waiting))

        def fitting(limit: int, room: int = room) -> int:
            return min(limit, room)

        yield BatchingView(
            now_s=rng.uniform(0, 5),
            waiting=waiting,
            prefilling=prefilling,
            running=running_,
            decode_rows=running_ * rng.choice((1, 4)),
            more_to_come=rng.random() < 0.5,
            fitting=fitting,
            iteration_s=lambda joining: 0.01 * joining,
        )


def _size(subject: Batched) -> int:
    """Return the largest batch that options allow; the policies that have no such option are shown batches of up to 8."""
    size = getattr(subject.options, "max_batch", None) or getattr(subject.options, "batch_size", None) or 8
    return min(int(size), _LARGEST)


def it_admits_no_more_than_wait_and_fit(subject: Batched) -> None:
    """A policy admits no more requests than wait, fit into the KV cache, and may be in a batch."""
    policy, size = subject.build(), _size(subject)
    limited = any(hasattr(subject.options, name) for name in ("max_batch", "batch_size"))
    for view in _views(subject):
        plan, most = policy.plan(view), view.fitting(len(view.waiting))
        expect(
            0 <= plan.admit <= most, f"admitted {plan.admit} of {len(view.waiting)} that wait, {most} of which fit"
        )
        if limited and plan.admit:
            most = size if size < _LARGEST else view.admitted + plan.admit
            expect(view.admitted + plan.admit <= most, f"{view.admitted + plan.admit} in a batch of {size}")


def it_computes_prompts_that_are_there(subject: Batched) -> None:
    """A step computes no more prompt tokens of a request than it has left, and of no request that is not admitted."""
    policy = subject.build()
    for view in _views(subject):
        plan = policy.plan(view)
        there = [*view.prefilling, *(each.prompt_left for each in islice(view.waiting, plan.admit))]
        expect(len(plan.prefill) <= len(there), f"{len(plan.prefill)} prompts computed, {len(there)} are there")
        for tokens, left in zip(plan.prefill, there, strict=False):
            expect(0 <= tokens <= left, f"{tokens} prompt tokens computed of {left} left")


def a_machine_does_not_idle_for_nothing(subject: Batched) -> None:
    """A step does something, or the policy says when to ask again, where requests decode or the last ones wait."""
    policy = subject.build()
    for view in _views(subject):
        plan = policy.plan(view)
        works = any(plan.prefill) or (view.running and plan.decode) or plan.wake_s is not None
        last = view.waiting and view.fitting(1) and not view.more_to_come and not view.admitted
        expect(works or not (view.running or last), f"nothing is done with {len(view.waiting)} waiting: {plan}")


def a_plan_depends_on_the_view_alone(subject: Batched) -> None:
    """A policy is a pure function: it plans alike whatever it was asked before, and so does another instance."""
    views, policy = list(_views(subject)), subject.build()
    first = [policy.plan(view) for view in views]
    again = [policy.plan(view) for view in reversed(views)][::-1]
    expect(again == first, "asked in the reverse order, it planned otherwise")
    expect([subject.build().plan(view) for view in views] == first, "another instance planned otherwise")


LAWS = (
    it_admits_no_more_than_wait_and_fit,
    it_computes_prompts_that_are_there,
    a_machine_does_not_idle_for_nothing,
    a_plan_depends_on_the_view_alone,
    running.every_request_gets_all_its_tokens,
    running.runs_repeat,
    running.fast_runs_are_exact,
)
