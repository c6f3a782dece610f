"""The requests that decode together, as arrays: how long their caches are and how much they still have to say."""

from __future__ import annotations

import numpy as np

from papisim.arrays import Floats, Ints
from papisim.record.ledger import RequestRow


class Batch:
    """Requests decoded together; all lengths in tokens.

    What an iteration changes is kept in arrays; a request's own row is brought up to date when it leaves.

    Attributes:
        rows: the requests, in the order in which they began to decode.
        cached: tokens in each request's cache, shape (RLP,).
        remaining: tokens that each has still to emit, shape (RLP,).
        pages: pages of the KV cache that each holds, shape (RLP,).
        since_s: when each got its last tokens, shape (RLP,).
        cached_tokens: tokens in the caches of all requests.
        changes: how often any of this has changed, pages aside.
    """

    def __init__(self) -> None:
        self.rows: list[RequestRow] = []
        self.cached: Ints = np.zeros(0, dtype=np.int64)
        self.remaining: Ints = np.zeros(0, dtype=np.int64)
        self.pages: Ints = np.zeros(0, dtype=np.int64)
        self.since_s: Floats = np.zeros(0)
        self.cached_tokens = 0
        self.changes = 0
        self._least: int | None = None
        self._longest: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def request_ids(self) -> tuple[int, ...]:
        """Who is in the batch, in its order."""
        return tuple(row.request_id for row in self.rows)

    @property
    def least_remaining(self) -> int:
        """Tokens until the first request has said everything."""
        if self._least is None:
            self._least = int(self.remaining.min()) if self.rows else 0
        return self._least

    @property
    def longest_cached(self) -> int:
        """Tokens in the longest cache."""
        if self._longest is None:
            self._longest = int(self.cached.max(initial=0))
        return self._longest

    def join(self, rows: list[RequestRow]) -> None:
        """Add requests whose prompts are in their caches."""
        if not rows:
            return
        self.rows += rows
        figures = np.array(
            [(row.cached_tokens, row.output_tokens - row.emitted_tokens, row.pages) for row in rows], dtype=np.int64
        )
        self.cached = np.concatenate((self.cached, figures[:, 0]))
        self.remaining = np.concatenate((self.remaining, figures[:, 1]))
        self.pages = np.concatenate((self.pages, figures[:, 2]))
        self.since_s = np.concatenate((self.since_s, [row.last_token_s for row in rows]))
        self.cached_tokens += int(figures[:, 0].sum())
        self._change()

    def deliver(self, now_s: float) -> Floats:
        """Note that every request gets tokens now; returns how long each has waited for them, shape (RLP,)."""
        gaps_s = now_s - self.since_s
        self.since_s = np.full(len(self.rows), now_s)
        return gaps_s

    def emit(self, tokens: Ints | int) -> tuple[int, list[RequestRow]]:
        """Give each request its new tokens, or as many as it has left to say; those with nothing left leave.

        What was drafted and not accepted is rolled back: caches grow by the tokens given alone.

        Args:
            tokens: accepted drafts and the token that each verification adds, shape (RLP,) or the same for all.

        Returns:
            Tokens emitted, and the requests that ended.
        """
        if isinstance(tokens, int) and tokens <= self.least_remaining:
            return self._emit_to_all(tokens)
        emitted = np.minimum(self.remaining, tokens)
        self.remaining = self.remaining - emitted
        self.cached = self.cached + emitted
        total = int(emitted.sum())
        self.cached_tokens += total
        self._change()
        return total, self._take_ended()

    def _emit_to_all(self, tokens: int) -> tuple[int, list[RequestRow]]:
        """Give as many tokens to each; everyone has them still to say."""
        total, least, longest = tokens * len(self.rows), self.least_remaining, self.longest_cached
        self.remaining = self.remaining - tokens
        self.cached = self.cached + tokens
        self.cached_tokens += total
        self._change()
        self._least, self._longest = least - tokens, longest + tokens
        return total, [] if self._least else self._take_ended()

    def _take_ended(self) -> list[RequestRow]:
        ended = np.flatnonzero(self.remaining == 0)
        return self._take(ended.tolist()) if len(ended) else []

    def drop_last(self) -> RequestRow:
        """Take out the request that began last."""
        return self._take([len(self.rows) - 1])[0]

    def drop_all(self) -> list[RequestRow]:
        """Take out everyone."""
        return self._take(list(range(len(self.rows))))

    def _take(self, places: list[int]) -> list[RequestRow]:
        taken = []
        for place in places:
            row = self.rows[place]
            row.emitted_tokens = row.output_tokens - int(self.remaining[place])
            row.pages = int(self.pages[place])
            row.last_token_s = float(self.since_s[place])
            row.computed_tokens = int(self.cached[place])
            self.cached_tokens -= row.computed_tokens
            taken.append(row)
        for place in reversed(places):
            del self.rows[place]
        stays = np.ones(len(self.cached), dtype=bool)
        stays[places] = False
        self.cached, self.remaining = self.cached[stays], self.remaining[stays]
        self.pages, self.since_s = self.pages[stays], self.since_s[stays]
        self._change()
        return taken

    def _change(self) -> None:
        self.changes += 1
        self._least = self._longest = None
