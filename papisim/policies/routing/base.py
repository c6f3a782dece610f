"""The contract of a routing policy: which replica serves a request.

A policy from outside is one class that has ``Options`` and ``EXAMPLE`` inside; a policy of papisim's own is one module with
``Options``, ``EXAMPLE`` and the class, called ``Routing`` (see :mod:`papisim.kinds`).

Replicas are equal machines, each with the whole model and a KV cache of its own (data parallel). A request is routed once,
on arrival, when the length of its answer is unknown. A policy

- returns the index of one of the view's replicas;
- is a pure function of the view: it keeps no state and draws no random numbers (``RoutingView.number`` counts arrivals);
- must not change the view, nor keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from papisim.config.experiment import RoutingSpec
from papisim.kinds.family import Family


class RoutingOptions(RoutingSpec):
    """What every routing policy's options say."""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What a policy may see of one replica.

    Attributes:
        waiting: requests that wait there.
        admitted: requests in its batch, decoding or not yet.
        free_kv_tokens: tokens that its free pages of KV cache hold.
        waiting_prompt_tokens: prompt tokens of those that wait, which will take such pages first.
        cached_prompt_tokens: first tokens of the arriving request's prompt that its prefix cache has.
    """

    waiting: int
    admitted: int
    free_kv_tokens: int
    waiting_prompt_tokens: int
    cached_prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class RoutingView:
    """What a policy may see when a request arrives.

    Attributes:
        number: requests that arrived before it.
        prompt_tokens: length of its prompt.
        replicas: the replicas, always in the same order.
    """

    number: int
    prompt_tokens: int
    replicas: Sequence[ReplicaView]


class RoutingPolicy(Protocol):
    """Chooses a replica."""

    def choose(self, view: RoutingView) -> int:
        """Return the index of one of the view's replicas."""


ROUTING: Family[RoutingOptions, RoutingPolicy] = Family(
    name="routing",
    noun="routing policy",
    plural="routing policies",
    package="papisim.policies.routing",
    thing="Routing",
    base=RoutingOptions,
    contract=RoutingPolicy,
)
