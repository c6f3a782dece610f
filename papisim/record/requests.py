"""Requests that have ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: what is measured of requests: time to first token, time per output token, gaps between tokens, end-to-end latency, and
#: queueing delay
LATENCIES = ("ttft", "tpot", "itl", "e2e", "queueing")


class RequestOutcome(StrEnum):
    """How a request ended."""

    SERVED = "served"
    REFUSED = "refused"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request that has ended; times are NaN for what never happened.

    Attributes:
        request_id: number that the workload gave the request.
        server: server that had the request last.
        arrival_s: arrival.
        admitted_s: first admission.
        first_token_s: emission of the first token.
        finish_s: end, however the request ended.
        input_tokens: tokens of the prompt.
        output_tokens: tokens asked for.
        emitted_tokens: tokens emitted.
        preemptions: preemptions of the request.
        outcome: how the request ended.
        reason: why the request was not served; empty if it was.
    """

    request_id: int
    server: str
    arrival_s: float
    admitted_s: float
    first_token_s: float
    finish_s: float
    input_tokens: int
    output_tokens: int
    emitted_tokens: int
    preemptions: int
    outcome: RequestOutcome
    reason: str

    @property
    def latencies_s(self) -> dict[str, float]:
        """Latencies by name, if the request was served: :data:`LATENCIES` but the gaps between tokens."""
        figures = {
            "ttft": self.first_token_s - self.arrival_s,
            "e2e": self.finish_s - self.arrival_s,
            "queueing": self.admitted_s - self.arrival_s,
        }
        if self.output_tokens > 1:
            figures["tpot"] = (self.finish_s - self.first_token_s) / (self.output_tokens - 1)
        return figures
