"""A closed loop: a number of users, each of whom reads an answer and thinks before asking again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from papisim.config.base import Count, NonNegative, Spec
from papisim.kinds import Example
from papisim.streams import stream
from papisim.workloads.base import Request, WorkloadOptions
from papisim.workloads.lengths import Lengths
from papisim.workloads.lengths.base import draw_in_chunks


class ThinkTime(Spec):
    """How long a user thinks: gamma-distributed.

    Attributes:
        mean_s: mean.
        cv: coefficient of variation: 0 is always the mean, 1 an exponential distribution.
    """

    mean_s: NonNegative = 0.0
    cv: NonNegative = 1.0

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return ``n`` think times, in s."""
        if self.cv == 0 or self.mean_s == 0:
            return np.full(n, self.mean_s)
        variance = self.cv**2
        return rng.gamma(1 / variance, self.mean_s * variance, n)


class Options(WorkloadOptions):
    """Who asks, and how often.

    Attributes:
        n_users: users, each with one request in the system or being thought about.
        n_requests: requests of all users together, dealt out evenly, so that every machine gets the same ones.
        think_time: before each request, the first included.
        ramp_s: time over which users start, evenly spaced; 0: all at once.
        lengths: of the requests.
    """

    kind: Literal["closed_loop"]
    n_users: Count
    n_requests: Count
    think_time: ThinkTime = ThinkTime()
    ramp_s: NonNegative = 0.0
    lengths: Lengths


EXAMPLE = Example(
    {
        "n_requests": 50,
        "n_users": 8,
        "think_time": {"mean_s": 2},
        "lengths": {"kind": "fixed", "input_tokens": 100, "output_tokens": 20},
    }
)


class Workload:
    """The first request of each user, and the next one whenever one has ended.

    Request ``i`` is the ``i // n_users``-th of user ``i % n_users``; its lengths and the time thought about it depend on the seed and
    ``i`` alone, not on when the machine finishes what. 24 bytes per request are kept.
    """

    def __init__(self, options: Options, seed: int) -> None:
        self._n_users, self._n_requests = options.n_users, options.n_requests
        self._think_s = options.think_time.draw(options.n_requests, stream(seed, "think"))
        users = min(options.n_users, options.n_requests)
        self._think_s[:users] += options.ramp_s * np.arange(users) / options.n_users
        self._pairs = np.concatenate(
            list(draw_in_chunks(options.lengths, options.n_requests, stream(seed, "lengths")))
        )

    def __iter__(self) -> Iterator[Request]:
        """Yield each user's first request, in the order of their arrival."""
        first = self._think_s[: self._n_users]
        for index in np.argsort(first, kind="stable").tolist():
            yield self._request(index, 0.0)

    def follow(self, request: Request, finished_s: float) -> Request | None:
        """Return the request that the same user issues after one has ended; None after the user's last."""
        index = request.request_id + self._n_users
        return self._request(index, finished_s) if index < self._n_requests else None

    def _request(self, index: int, finished_s: float) -> Request:
        input_tokens, output_tokens = self._pairs[index].tolist()
        return Request(index, finished_s + float(self._think_s[index]), input_tokens, output_tokens)
