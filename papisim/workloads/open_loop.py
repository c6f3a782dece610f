"""Requests that arrive without regard to how those before them fare."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from papisim.config.base import Count
from papisim.streams import stream
from papisim.workloads.base import Request, WorkloadOptions
from papisim.workloads.lengths import Lengths
from papisim.workloads.lengths.base import draw_in_chunks

#: draws a given number of times between arrivals, in s
Gaps = Callable[[np.random.Generator, int], NDArray[np.float64]]


class OpenLoopOptions(WorkloadOptions):
    """How many requests there are, and how long they are."""

    n_requests: Count
    lengths: Lengths


class OpenLoop:
    """Requests with random gaps between them; the clock starts with the first.

    Arrivals and lengths come from streams of their own, so that other lengths change no arrival.

    Args:
        options: how many, and how long.
        seed: the seed.
        gaps: draws the times between arrivals.
    """

    def __init__(self, options: OpenLoopOptions, seed: int, gaps: Gaps) -> None:
        self._options, self._seed, self._gaps = options, seed, gaps

    def __iter__(self) -> Iterator[Request]:
        """Yield the requests in the order of their arrival; no more than a chunk of them is drawn ahead."""
        rng = stream(self._seed, "arrivals")
        index, now_s = 0, 0.0
        for pairs in draw_in_chunks(self._options.lengths, self._options.n_requests, stream(self._seed, "lengths")):
            gaps = self._gaps(rng, len(pairs))
            if index == 0:
                gaps[0] = 0.0
            arrivals = now_s + np.cumsum(gaps)
            now_s = arrivals[-1]
            for arrival_s, (input_tokens, output_tokens) in zip(arrivals.tolist(), pairs.tolist(), strict=True):
                yield Request(index, arrival_s, input_tokens, output_tokens)
                index += 1
