"""The contract of a workload kind.

A kind is one module with two names: ``Options``, the fields of a file in ``traces/requests/``, and ``Workload``, built from
them and a seed. A third is optional: ``settle(options)`` returns the options with what only the files that they name can tell,
and notes for the user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from papisim.catalog import Shelf
from papisim.config.base import KindOptions
from papisim.kinds.family import Family


class WorkloadOptions(KindOptions):
    """What every workload file says."""


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


@runtime_checkable
class ClosedLoop(WorkloadSource, Protocol):
    """Requests of users who wait for an answer before they ask again; iterating yields those that nobody's answer precedes."""

    def follow(self, request: Request, finished_s: float) -> Request | None:
        """Return the request that the same user issues after one has ended, at ``finished_s`` or later; None if there is none.

        It depends on its arguments alone.
        """


WORKLOAD: Family[WorkloadOptions, WorkloadSource] = Family(
    name="workload",
    noun="workload",
    plural="workload kinds",
    package="papisim.workloads",
    thing="Workload",
    base=WorkloadOptions,
    contract=WorkloadSource,
    arguments=("options", "seed"),
    shelf=Shelf.REQUESTS,
    schema="papisim/requests/1",
)
