"""A closed batch: all requests are there at time 0, as in the paper's experiments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from papisim.spec.base import Count
from papisim.workloads.base import Request, WorkloadOptions
from papisim.workloads.lengths import Lengths
from papisim.workloads.streams import stream


class Options(WorkloadOptions):
    """How many requests there are, and how long they are."""

    kind: Literal["closed_batch"]
    n_requests: Count
    lengths: Lengths


class Workload:
    """``n_requests`` requests that all arrive at time 0."""

    def __init__(self, options: Options, seed: int) -> None:
        self._pairs = options.lengths.draw(options.n_requests, stream(seed, "lengths"))

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests in the order they were drawn."""
        for index, (input_tokens, output_tokens) in enumerate(self._pairs):
            yield Request(index, 0.0, input_tokens, output_tokens)
