"""A closed batch: all requests are there at time 0, as in the paper's experiments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from papisim.config.base import Count
from papisim.kinds import Example
from papisim.streams import stream
from papisim.workloads.base import Request, WorkloadOptions
from papisim.workloads.lengths import Lengths
from papisim.workloads.lengths.base import draw_in_chunks


class Options(WorkloadOptions):
    """How many requests there are, and how long they are."""

    kind: Literal["closed_batch"]
    n_requests: Count
    lengths: Lengths


EXAMPLE = Example({"n_requests": 50, "lengths": {"kind": "fixed", "input_tokens": 100, "output_tokens": 20}})


class Workload:
    """``n_requests`` requests that all arrive at time 0."""

    def __init__(self, options: Options, seed: int) -> None:
        self._options, self._seed = options, seed

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests in the order they are drawn."""
        index = 0
        for pairs in draw_in_chunks(self._options.lengths, self._options.n_requests, stream(self._seed, "lengths")):
            for input_tokens, output_tokens in pairs.tolist():
                yield Request(index, 0.0, input_tokens, output_tokens)
                index += 1
