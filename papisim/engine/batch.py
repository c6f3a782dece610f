"""The requests that decode together, as arrays: the lengths of their caches and the tokens left to emit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papisim.arrays import Floats, Ints
from papisim.engine.request import Request, RequestState
from papisim.ops.lower import KvLengths, decode_lengths


class Batch:
    """Requests decoded together; all lengths in tokens.

    Whatever an iteration changes is kept in arrays; a request's own fields are brought up to date when it leaves.

    Attributes:
        requests: the requests, in the order in which they began to decode.
        cached: tokens in each request's cache, shape (RLP,).
        remaining: tokens left to emit of each request, shape (RLP,).
        pages: pages of the KV cache that each request holds, shape (RLP,).
        since_s: last emission of each request, shape (RLP,).
        cached_tokens: tokens in the caches of all requests.
        changes: number of changes so far, those of pages aside.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.cached: Ints = np.zeros(0, dtype=np.int64)
        self.remaining: Ints = np.zeros(0, dtype=np.int64)
        self.pages: Ints = np.zeros(0, dtype=np.int64)
        self.since_s: Floats = np.zeros(0)
        self.cached_tokens = 0
        self.changes = 0
        self._least: int | None = None
        self._longest: int | None = None

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def request_ids(self) -> tuple[int, ...]:
        """Ids of the requests, in the batch's order."""
        return tuple(request.request_id for request in self.requests)

    @property
    def least_remaining(self) -> int:
        """Tokens until the first request is complete."""
        if self._least is None:
            self._least = int(self.remaining.min()) if self.requests else 0
        return self._least

    @property
    def longest_cached(self) -> int:
        """Tokens in the longest cache."""
        if self._longest is None:
            self._longest = int(self.cached.max(initial=0))
        return self._longest

    def in_flight(self, tlp: int) -> KvLengths:
        """Return the caches that an iteration attends to with ``tlp`` tokens in flight of each request."""
        return decode_lengths(len(self), tlp, self.cached_tokens, self.longest_cached, self.cached)

    def join(self, requests: Sequence[Request]) -> None:
        """Add requests whose prompts are in their caches."""
        if not requests:
            return
        for request in requests:
            request.enter(RequestState.DECODING)
        self.requests += requests
        figures = np.array(
            [(each.cached_tokens, each.output_tokens - each.emitted_tokens, each.pages) for each in requests],
            dtype=np.int64,
        )
        self.cached = np.concatenate((self.cached, figures[:, 0]))
        self.remaining = np.concatenate((self.remaining, figures[:, 1]))
        self.pages = np.concatenate((self.pages, figures[:, 2]))
        self.since_s = np.concatenate((self.since_s, [each.last_token_s for each in requests]))
        self.cached_tokens += int(figures[:, 0].sum())
        self._change()

    def deliver(self, now_s: float, rows: Ints | int = 1) -> Floats:
        """Note that requests get tokens now.

        Args:
            now_s: the time.
            rows: token-rows of each request, shape (RLP,) or the same for all; a request without any gets no token.

        Returns:
            The gap since the last tokens of each request that gets some, shape (n,).
        """
        gaps_s = now_s - self.since_s
        if isinstance(rows, int) or rows.all():
            self.since_s = np.full(len(self.requests), now_s)
            return gaps_s
        gets = rows > 0
        self.since_s = np.where(gets, now_s, self.since_s)
        return gaps_s[gets]

    def storable(self, tokens: Ints | int) -> int:
        """Return the tokens in flight that are cached until they are verified: none beyond a request's end.

        Args:
            tokens: token-rows of each request, shape (RLP,) or the same for all.
        """
        if isinstance(tokens, int) and tokens <= self.least_remaining:
            return tokens * len(self.requests)
        return int(np.minimum(self.remaining, tokens).sum())

    def emit(self, tokens: Ints | int) -> tuple[int, list[Request]]:
        """Give each request its new tokens, or those it has left; complete requests leave the batch.

        Rejected drafts are rolled back: caches grow by the tokens given alone.

        Args:
            tokens: accepted drafts and the token that each verification adds, shape (RLP,) or the same for all.

        Returns:
            Tokens emitted, and the requests that are complete.
        """
        if isinstance(tokens, int) and tokens <= self.least_remaining:
            return self._emit_to_all(tokens)
        emitted = np.minimum(self.remaining, tokens)
        self.remaining = self.remaining - emitted
        self.cached = self.cached + emitted
        total = int(emitted.sum())
        self.cached_tokens += total
        self._change()
        return total, self._take_complete()

    def _emit_to_all(self, tokens: int) -> tuple[int, list[Request]]:
        """Give each request as many tokens, which it has left."""
        total, least, longest = tokens * len(self.requests), self.least_remaining, self.longest_cached
        self.remaining = self.remaining - tokens
        self.cached = self.cached + tokens
        self.cached_tokens += total
        self._change()
        self._least, self._longest = least - tokens, longest + tokens
        return total, [] if self._least else self._take_complete()

    def _take_complete(self) -> list[Request]:
        complete = np.flatnonzero(self.remaining == 0)
        return self._take(complete.tolist()) if len(complete) else []

    def drop(self, requests: Sequence[Request]) -> None:
        """Take out some of the requests."""
        self._take([place for place, request in enumerate(self.requests) if request in requests])

    def drop_last(self) -> Request:
        """Take out the request that joined last."""
        return self._take([len(self.requests) - 1])[0]

    def drop_all(self) -> list[Request]:
        """Take out every request."""
        return self._take(list(range(len(self.requests))))

    def _take(self, places: list[int]) -> list[Request]:
        taken = []
        for place in places:
            request = self.requests[place]
            request.emitted_tokens = request.output_tokens - int(self.remaining[place])
            request.pages = int(self.pages[place])
            request.last_token_s = float(self.since_s[place])
            request.computed_tokens = int(self.cached[place])
            self.cached_tokens -= request.computed_tokens
            taken.append(request)
        for place in reversed(places):
            del self.requests[place]
        stays = np.ones(len(self.cached), dtype=bool)
        stays[places] = False
        self.cached, self.remaining = self.cached[stays], self.remaining[stays]
        self.pages, self.since_s = self.pages[stays], self.since_s[stays]
        self._change()
        return taken

    def _change(self) -> None:
        self.changes += 1
        self._least = self._longest = None
