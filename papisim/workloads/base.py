"""The contract of a workload kind.

A kind is one module with two names: ``Options``, the fields of a file in ``traces/requests/``, and ``Workload``, built from
them and a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from papisim.spec.base import Spec


class WorkloadOptions(Spec):
    """What every workload file says."""

    kind: str


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it arrives, how long its prompt is, and how many tokens it generates before ``<eos>``."""

    request_id: int
    arrival_s: float
    input_tokens: int
    output_tokens: int


class WorkloadSource(Protocol):
    """Requests in the order of their arrival."""

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests; every iteration yields the same."""
