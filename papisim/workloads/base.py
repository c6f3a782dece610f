"""The contract of a workload: which requests arrive, and when.

A workload from outside is one class that has ``Options`` and ``EXAMPLE`` inside; a workload of papisim's own is one module with
``Options``, ``EXAMPLE`` and the class, called ``Workload`` (see :mod:`papisim.kinds`). It is built from its options and the
seed. A workload

- yields requests in the order of their arrival, numbered from 0, with plain Python numbers, each of at least one token;
- yields the same requests in every iteration: all draws are from streams of the seed (:mod:`papisim.streams`);
- must not depend on the machine: what a user does after an answer is :meth:`ClosedLoop.follow`, a function of the
  request and the time alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from pydantic import Field

from papisim.catalog import Shelf
from papisim.config.base import KindOptions, Positive
from papisim.kinds.family import Family
from papisim.workloads.content import Content, Key


class WorkloadOptions(KindOptions):
    """What every workload file may say of its client.

    Attributes:
        timeout_s: time from its arrival after which a client gives a request up: the request is cancelled at the end of the step
            under way, its KV cache is freed, and it counts as ``timed_out``. None: a client waits for ever.
        warmup_requests: number of requests, the first to arrive, that are served and not measured. Measuring starts when the next
            request arrives.
    """

    timeout_s: Positive | None = None
    warmup_requests: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        request_id: number of the request.
        arrival_s: arrival.
        input_tokens: tokens of the prompt.
        output_tokens: tokens that it generates before ``<eos>``.
        content: what the prompt says, ``input_tokens`` tokens together; empty where nothing is known, so that it is like no other.
        answer: key of the text that it generates; None where no prompt ever repeats it.
    """

    request_id: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    content: Content = ()
    answer: Key | None = None


class WorkloadSource(Protocol):
    """Requests in the order of their arrival."""

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests; every iteration yields the same."""


@runtime_checkable
class ClosedLoop(WorkloadSource, Protocol):
    """Requests of users who wait for an answer before they ask again; iterating yields the first request of each user."""

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
