"""A request in service, from its arrival to its end.

A request is in one of five states:

``waiting``
    arrived, preempted, or on its way to another server: in a server's queue, without pages of the KV cache.
``prefilling``
    admitted: it holds pages, and its prompt is computed in one or more steps.
``decoding``
    in the batch: every iteration emits tokens.
``leaving``
    its prompt is complete and its cache is being sent to the server where it will decode.
``ended``
    served, refused or failed; the ledger has its record.

::

    waiting ──admitted──▶ prefilling ──prompt complete──▶ decoding ──last token──▶ ended
       ▲ │                  │    │                           │
       │ └──cache moved back│────│──────────▶ decoding       │
       ├────preempted───────┘    └─prompt complete─▶ leaving │
       ├────cache sent───────────────────────────────┘       │
       └────preempted────────────────────────────────────────┘

From every state a request may end, since a device may be lost and the KV cache may be exhausted. While a request decodes, its
batch keeps its emitted tokens, cache length, pages and last emission in arrays and writes them back when it leaves the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from papisim.engine.prefix import Chain
from papisim.record.requests import RequestOutcome, RequestRecord
from papisim.workloads.content import Content, Key, Span


class RequestState(StrEnum):
    """States of a request in service."""

    WAITING = "waiting"
    PREFILLING = "prefilling"
    DECODING = "decoding"
    LEAVING = "leaving"
    ENDED = "ended"


_NEXT = {
    RequestState.WAITING: {RequestState.PREFILLING, RequestState.DECODING, RequestState.ENDED},
    RequestState.PREFILLING: {
        RequestState.DECODING,
        RequestState.LEAVING,
        RequestState.WAITING,
        RequestState.ENDED,
    },
    RequestState.DECODING: {RequestState.WAITING, RequestState.ENDED},
    RequestState.LEAVING: {RequestState.WAITING, RequestState.ENDED},
    RequestState.ENDED: set[RequestState](),
}


@dataclass(slots=True, eq=False)
class Request:
    """A request in service.

    Attributes:
        request_id: number that the workload gave it.
        arrival_s: arrival.
        input_tokens: tokens of its prompt.
        output_tokens: tokens that it asks for.
        number: its place in the order of arrivals.
        content: what its prompt says; empty where it is like no other.
        answer: key of the text that it generates; None where no prompt repeats it.
        state: current state.
        server: server that has it.
        admitted_s: first admission; NaN before.
        first_token_s: emission of the first token; NaN before.
        last_token_s: emission of the last tokens so far; NaN before.
        emitted_tokens: tokens emitted.
        preemptions: preemptions so far.
        computed_tokens: tokens in its cache, or of its cache that was moved out.
        is_swapped: whether its cache was moved out while it decoded, so that it resumes without computing anything again.
        pages: pages of the KV cache that it holds, shared ones included.
        chain: its tokens in blocks of the prefix cache, once they have been looked up there.
    """

    request_id: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    number: int = 0
    state: RequestState = RequestState.WAITING
    server: str = ""
    admitted_s: float = math.nan
    first_token_s: float = math.nan
    last_token_s: float = math.nan
    emitted_tokens: int = 0
    preemptions: int = 0
    computed_tokens: int = 0
    is_swapped: bool = False
    pages: int = 0
    content: Content = ()
    answer: Key | None = None
    chain: Chain | None = None

    @property
    def text(self) -> Content:
        """Its prompt and its whole answer; where nothing is known of one, a text of its own."""
        own = ("request", self.request_id)
        prompt = self.content or (Span((*own, "prompt"), self.input_tokens),)
        return (*prompt, Span((*own, "answer") if self.answer is None else self.answer, self.output_tokens))

    @property
    def prompt_tokens(self) -> int:
        """Tokens to be cached before it can decode: its prompt, and after a preemption the tokens emitted so far."""
        return self.input_tokens + self.emitted_tokens

    @property
    def cached_tokens(self) -> int:
        """Tokens in its cache while it decodes: all but the last one emitted."""
        return self.input_tokens + max(0, self.emitted_tokens - 1)

    @property
    def longest_tokens(self) -> int:
        """Tokens in its cache at its longest; the last token emitted is never cached."""
        return self.input_tokens + self.output_tokens - 1

    @property
    def prompt_left(self) -> int:
        """Tokens still to be computed before it can decode."""
        return 0 if self.is_swapped else self.prompt_tokens - self.computed_tokens

    @property
    def begins(self) -> bool:
        """Whether nothing of its prompt is computed, so that it may begin with blocks of a prefix cache."""
        return not (self.is_swapped or self.computed_tokens)

    @property
    def is_complete(self) -> bool:
        """Whether all its tokens are emitted."""
        return self.emitted_tokens == self.output_tokens

    def enter(self, state: RequestState) -> None:
        """Change state.

        Raises:
            RuntimeError: no such transition.
        """
        if state not in _NEXT[self.state]:
            raise RuntimeError(f"request {self.request_id} is {self.state} and cannot become {state}")
        self.state = state

    def admit(self, now_s: float) -> None:
        """Note an admission; the first one ends the queueing delay."""
        if math.isnan(self.admitted_s):
            self.admitted_s = now_s

    def emit_first(self, now_s: float) -> float | None:
        """Emit the token that a completed prompt yields.

        Returns:
            The gap since the token before, if it is not the first: after a preemption with recomputation.
        """
        self.emitted_tokens += 1
        before_s, self.last_token_s = self.last_token_s, now_s
        if self.emitted_tokens == 1:
            self.first_token_s = now_s
            return None
        return now_s - before_s

    def end(self, outcome: RequestOutcome, reason: str, now_s: float) -> RequestRecord:
        """End, and return the record.

        Args:
            outcome: how the request ended.
            reason: why it was not served; empty if it was.
            now_s: the time.
        """
        self.enter(RequestState.ENDED)
        return RequestRecord(
            request_id=self.request_id,
            server=self.server,
            arrival_s=self.arrival_s,
            admitted_s=self.admitted_s,
            first_token_s=self.first_token_s,
            finish_s=now_s,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            emitted_tokens=self.emitted_tokens,
            preemptions=self.preemptions,
            outcome=outcome,
            reason=reason,
        )
