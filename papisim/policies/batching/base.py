"""The contract of a batching policy.

A policy is one module with two names: ``Options`` and ``Batching``, built from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from papisim.spec.base import Spec


class BatchingOptions(Spec):
    """What every batching policy's options say."""

    kind: str


@dataclass(frozen=True)
class BatchingView:
    """What a policy may see between iterations.

    Attributes:
        waiting: requests that have arrived and wait.
        running: requests in the batch (RLP).
        more_to_come: whether requests may still arrive.
    """

    waiting: int
    running: int
    more_to_come: bool


class BatchingPolicy(Protocol):
    """Admits requests in the order of their arrival."""

    def admit(self, view: BatchingView) -> int:
        """Return how many of the waiting requests join the batch now."""
