"""The requests that decode together, as arrays: how long their caches are and how much they still have to say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from papisim.devices.base import Floats
from papisim.engine.ledger import RequestRow

Ints = npt.NDArray[np.int64]


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
    """

    def __init__(self) -> None:
        self.rows: list[RequestRow] = []
        self.cached: Ints = np.zeros(0, dtype=np.int64)
        self.remaining: Ints = np.zeros(0, dtype=np.int64)
        self.pages: Ints = np.zeros(0, dtype=np.int64)
        self.since_s: Floats = np.zeros(0)
        self.cached_tokens = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def request_ids(self) -> tuple[int, ...]:
        """Who is in the batch, in its order."""
        return tuple(row.request_id for row in self.rows)

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
        emitted = np.minimum(self.remaining, tokens)
        self.remaining = self.remaining - emitted
        self.cached = self.cached + emitted
        total = int(emitted.sum())
        self.cached_tokens += total
        ended = np.flatnonzero(self.remaining == 0)
        return total, self._take(ended.tolist()) if len(ended) else []

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
        self.cached = np.delete(self.cached, places)
        self.remaining = np.delete(self.remaining, places)
        self.pages = np.delete(self.pages, places)
        self.since_s = np.delete(self.since_s, places)
        return taken
