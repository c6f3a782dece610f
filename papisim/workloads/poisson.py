"""A Poisson process: every moment is as likely as any other to bring the next request."""

from __future__ import annotations

from typing import Literal

from papisim.config.base import Positive
from papisim.kinds import Example
from papisim.workloads.open_loop import OpenLoop, OpenLoopOptions


class Options(OpenLoopOptions):
    """How fast requests arrive.

    Attributes:
        rate_per_s: mean number of requests per second.
    """

    kind: Literal["poisson"]
    rate_per_s: Positive


EXAMPLE = Example(
    {"n_requests": 50, "rate_per_s": 4, "lengths": {"kind": "fixed", "input_tokens": 100, "output_tokens": 20}}
)


class Workload(OpenLoop):
    """Requests with exponential gaps between them."""

    def __init__(self, options: Options, seed: int) -> None:
        super().__init__(options, seed, lambda rng, n: rng.exponential(1 / options.rate_per_s, n))
