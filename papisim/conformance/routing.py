"""What every routing policy must do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from papisim.conformance import running
from papisim.conformance.law import Subject, expect, random
from papisim.policies.routing.base import ReplicaView, RoutingOptions, RoutingPolicy, RoutingView

Routed: TypeAlias = Subject[RoutingOptions, RoutingPolicy]


def _views(subject: Routed) -> Iterator[RoutingView]:
    rng = random(subject)
    for number in range(200):
        replicas = [
            ReplicaView(*(rng.randint(0, most) for most in (100, 100, 10**6, 10**6, 10**3)))
            for _ in range(rng.randint(1, 8))
        ]
        yield RoutingView(number, rng.randint(1, 10**5), tuple(replicas))


def a_request_goes_to_a_replica_that_is_there(subject: Routed) -> None:
    """A policy names the index of one of the replicas."""
    policy = subject.build()
    for view in _views(subject):
        chosen = policy.choose(view)
        expect(type(chosen) is int and 0 <= chosen < len(view.replicas), f"chose {chosen!r} of {len(view.replicas)}")


def a_choice_depends_on_the_view_alone(subject: Routed) -> None:
    """A policy is a pure function: it chooses alike whatever it was asked before, and so does another instance."""
    views, policy = list(_views(subject)), subject.build()
    first = [policy.choose(view) for view in views]
    again = [policy.choose(view) for view in reversed(views)][::-1]
    expect(again == first, "asked in the reverse order, it chose otherwise")
    expect([subject.build().choose(view) for view in views] == first, "another instance chose otherwise")


def requests_on_two_replicas_get_all_their_tokens(subject: Routed) -> None:
    """A run on two replicas serves every request to its last token."""
    running.every_request_gets_all_its_tokens(subject, batching="continuous", **_TWO)


def runs_on_two_replicas_repeat(subject: Routed) -> None:
    """The same run on two replicas twice is the same."""
    running.runs_repeat(subject, batching="continuous", **_TWO)


_TWO = {"set": {"routing.replicas": 2}}

LAWS = (
    a_request_goes_to_a_replica_that_is_there,
    a_choice_depends_on_the_view_alone,
    requests_on_two_replicas_get_all_their_tokens,
    runs_on_two_replicas_repeat,
)
