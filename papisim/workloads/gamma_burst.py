"""Bursty arrivals: gamma-distributed gaps, as in measured services (BurstGPT; Wang et al., KDD 2025)."""

from __future__ import annotations

from typing import Literal

from papisim.config.base import Positive
from papisim.kinds import Example
from papisim.workloads.open_loop import OpenLoop, OpenLoopOptions


class Options(OpenLoopOptions):
    """How fast requests arrive, and how unevenly.

    Attributes:
        rate_per_s: mean number of requests per second.
        gap_cv: coefficient of variation of the gaps: 1 is a Poisson process, more is bursts and lulls, less is regularity. vLLM's
            ``burstiness`` is ``1 / gap_cv²``.
    """

    kind: Literal["gamma_burst"]
    rate_per_s: Positive
    gap_cv: Positive


EXAMPLE = Example(
    {
        "n_requests": 50,
        "rate_per_s": 4,
        "gap_cv": 2,
        "lengths": {"kind": "fixed", "input_tokens": 100, "output_tokens": 20},
    }
)


class Workload(OpenLoop):
    """Requests with gamma-distributed gaps: shape ``1 / cv²``, scale ``cv² / rate``."""

    def __init__(self, options: Options, seed: int) -> None:
        variance = options.gap_cv**2
        super().__init__(options, seed, lambda rng, n: rng.gamma(1 / variance, variance / options.rate_per_s, n))
