"""Requests in a list, with the times of their arrival."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from papisim.config.base import Count, NonNegative
from papisim.kinds import Example
from papisim.workloads.base import Request, WorkloadOptions
from papisim.workloads.lengths.base import TokenCount


class Options(WorkloadOptions):
    """The requests.

    Attributes:
        requests: (arrival in seconds, prompt tokens, answer tokens) of each, in the order of arrival.
        n_requests: use the first of them only; all, if None.
    """

    kind: Literal["listed"]
    requests: Annotated[list[tuple[NonNegative, TokenCount, TokenCount]], Field(min_length=1)]
    n_requests: Count | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        arrivals_s = [request[0] for request in self.requests]
        for index, (before, after) in enumerate(pairwise(arrivals_s), start=1):
            if after < before:
                raise ValueError(
                    f"found request {index} at {after:g} s after one at {before:g} s, expected the order of arrival"
                )
        return self

    def settled(self) -> tuple[Self, tuple[str, ...]]:
        """Return the options with the number of requests that there are, and no notes."""
        n_requests = min(len(self.requests), self.n_requests or len(self.requests))
        return self.model_copy(update={"n_requests": n_requests}), ()


EXAMPLE = Example({"requests": [[index // 3 * 0.5, index + 1, index % 9 + 1] for index in range(50)]})


class Workload:
    """The requests of the list."""

    def __init__(self, options: Options, seed: int) -> None:
        del seed
        self._requests = options.requests[: options.n_requests]

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests in the order of their arrival."""
        return (Request(index, *request) for index, request in enumerate(self._requests))
