"""What every speculation policy must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TypeAlias

from papisim.conformance import running
from papisim.conformance.law import Subject, expect, random
from papisim.policies.speculation.base import (
    Draft,
    Proposal,
    Round,
    SpeculationOptions,
    SpeculationPolicy,
    SpeculationView,
)

Speculating: TypeAlias = Subject[SpeculationOptions, SpeculationPolicy]

_N_LAYERS, _CACHED = 32, 512
_SEEDS = 12


def _price_s(drafts: Sequence[Draft]) -> float:
    return 1.0 + 0.01 * sum(draft.rows for draft in drafts) + 0.1 * max(draft.length for draft in drafts)


def _view(*requests: int, iteration: int = 0) -> SpeculationView:
    return SpeculationView(iteration, requests, _price_s, _N_LAYERS, cached=(_CACHED,) * len(requests))


def _signal(rng: Random, length: int) -> tuple[float, ...]:
    return tuple(rng.random() for _ in range(length))


def _verified(rng: Random, request_id: int, draft: Draft, proposal: Proposal) -> Round:
    layers = range(_N_LAYERS - 1) if draft.exit_layer else ()
    return Round(
        request_id,
        draft,
        rng.choice((0, draft.length, rng.randint(0, draft.length))),
        proposal.confidence[: draft.length],
        _signal(rng, draft.length),
        tuple(tuple(x > rng.random() for x in _signal(rng, draft.length + 1)) for _ in layers),
        tuple(_signal(rng, draft.length + 1) for _ in layers),
    )


def _iterate(rng: Random, policy: SpeculationPolicy, view: SpeculationView) -> tuple[list[Draft], list[int]]:
    """Run an iteration as the engine does; returns the drafts as planned, and their lengths as cut."""
    drafts = policy.plan(view)
    proposals = [
        Proposal(_signal(rng, draft.length), tuple(3 * x for x in _signal(rng, draft.length))) for draft in drafts
    ]
    kept = policy.cut(view.requests, drafts, proposals)
    drafted = [
        replace(draft, length=length, tree=draft.tree[:length] if draft.tree else None)
        for draft, length in zip(drafts, kept, strict=True)
    ]
    outcomes = zip(view.requests, drafted, proposals, strict=True)
    policy.observe([_verified(rng, request_id, draft, proposal) for request_id, draft, proposal in outcomes])
    return drafts, kept


def drafts_stay_within_their_bounds(subject: Speculating) -> None:
    """Each request has a draft, no longer than the options allow, and a cut never lengthens it."""
    most = subject.options.longest
    for seed in range(_SEEDS):
        rng, policy = random(subject, seed), subject.build()
        for iteration in range(12):
            view = _view(*rng.sample(range(6), rng.randint(1, 4)), iteration=iteration)
            drafts, kept = _iterate(rng, policy, view)
            expect(
                len(drafts) == view.rlp == len(kept), f"{len(drafts)} drafts, {len(kept)} kept of {view.rlp} requests"
            )
            for draft, length in zip(drafts, kept, strict=True):
                expect(draft.length >= 0, f"a draft of length {draft.length}")
                expect(most is None or draft.length <= most, f"a draft of {draft.length}, at most {most} are allowed")
                expect(0 <= length <= draft.length, f"a draft of {draft.length} was cut to {length}")
                _check_draft(draft)


def _check_draft(draft: Draft) -> None:
    tree, layer = draft.tree, draft.exit_layer
    wrong = tree is not None and (len(tree) != draft.length or min(tree, default=1) < 1)
    expect(not wrong, f"a tree {tree} of depth {draft.length}")
    expect(layer is None or 1 <= layer < _N_LAYERS, f"exit layer {layer} of {_N_LAYERS}")


def what_is_steady_does_not_change(subject: Speculating) -> None:
    """A policy that says it is steady plans as many tokens in flight in each iteration, as chains, and cuts nothing."""
    rng, policy = random(subject), subject.build()
    tlp = policy.steady_tlp
    for iteration in range(20 if tlp is not None else 0):
        drafts, kept = _iterate(rng, policy, _view(1, 2, 3, iteration=iteration))
        found = {draft.rows for draft in drafts} | {length + 1 for length in kept}
        expect(found == {tlp}, f"said {tlp} tokens in flight, planned {sorted(found)}")


def a_request_that_has_left_is_forgotten(subject: Speculating) -> None:
    """A request that has left is a stranger when its id returns, and may be said to leave twice."""
    rng, policy = random(subject), subject.build()
    if policy.learns_from_all:
        return
    first = policy.plan(_view(7))
    for _ in range(8):
        _iterate(rng, policy, _view(7))
    policy.leave(7)
    policy.leave(7)
    again = policy.plan(_view(7))
    expect(again == first, f"planned {first} at first, {again} after it had left")


def requests_are_independent(subject: Speculating) -> None:
    """What becomes of one request's drafts changes no other's, unless the policy says that it learns from all."""
    rng, together, alone = random(subject), subject.build(), subject.build()
    if together.learns_from_all:
        return
    for _ in range(30):
        (mine,) = alone.plan(_view(2))
        proposal = Proposal(_signal(rng, mine.length), _signal(rng, mine.length))
        seen = _verified(rng, 2, mine, proposal)
        (other,) = together.plan(_view(1))
        another = _verified(rng, 1, other, Proposal(_signal(rng, other.length), _signal(rng, other.length)))
        together.plan(_view(1, 2))
        together.observe([another, seen])
        alone.observe([seen])
    expect(together.plan(_view(1, 2))[1] == alone.plan(_view(1, 2))[1], "the other request changed what it drafts")


def no_draft_is_no_evidence(subject: Speculating) -> None:
    """A round without drafts changes nothing: it is no sign of rejection."""
    policy = subject.build()
    before = policy.plan(_view(0))
    policy.observe([Round(0, replace(before[0], length=0, tree=None), 0)])
    after = policy.plan(_view(0))
    expect(after == before, f"planned {before}, and {after} after a round without drafts")


#: a process with all signals and second choices, so that a policy may look at any and draft trees
_ACCEPTANCE: dict[str, object] = {
    "acceptance": {"kind": "geometric", "alpha": 0.7, "signals": "dsde_t0", "branches": [0.3, 0.2]}
}


def _beside(subject: Speculating) -> dict[str, object]:
    return {} if "acceptance" in subject.beside else _ACCEPTANCE


def every_request_gets_all_its_tokens(subject: Speculating) -> None:
    """A run serves every request to its last token."""
    running.every_request_gets_all_its_tokens(subject, **_beside(subject))


def runs_repeat(subject: Speculating) -> None:
    """The same run twice is the same."""
    running.runs_repeat(subject, **_beside(subject))


def fast_runs_are_exact(subject: Speculating) -> None:
    """Layers folded and iterations run at once change no figure, be all drafts accepted or only some."""
    running.fast_runs_are_exact(subject, **_beside(subject))
    if "acceptance" not in subject.beside:
        running.fast_runs_are_exact(subject)


LAWS = (
    drafts_stay_within_their_bounds,
    what_is_steady_does_not_change,
    a_request_that_has_left_is_forgotten,
    requests_are_independent,
    no_draft_is_no_evidence,
    every_request_gets_all_its_tokens,
    runs_repeat,
    fast_runs_are_exact,
)
