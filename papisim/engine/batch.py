"""The running batch, as arrays: how long each request's cache is and how much it still has to say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from papisim.engine.ledger import RequestRow

Ints = npt.NDArray[np.int64]


class Batch:
    """Requests decoded together; all lengths in tokens.

    Attributes:
        rows: the requests, in batch order.
        cached: tokens in each request's cache, shape (RLP,).
    """

    def __init__(self) -> None:
        self.rows: list[RequestRow] = []
        self.cached: Ints = np.zeros(0, dtype=np.int64)
        self._remaining: Ints = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cached_tokens(self) -> int:
        """Tokens in the caches of all requests."""
        return int(self.cached.sum())

    @property
    def request_ids(self) -> tuple[int, ...]:
        """Who is in the batch, in its order."""
        return tuple(row.request_id for row in self.rows)

    def join(self, rows: list[RequestRow]) -> None:
        """Add requests whose prompts are in their caches; none has emitted a token yet."""
        self.rows += rows
        self.cached = np.append(self.cached, [row.input_tokens for row in rows]).astype(np.int64)
        self._remaining = np.append(self._remaining, [row.output_tokens for row in rows]).astype(np.int64)

    def absorb(self, other: Batch) -> None:
        """Add another batch's requests as they are."""
        self.rows += other.rows
        self.cached = np.append(self.cached, other.cached)
        self._remaining = np.append(self._remaining, other._remaining)

    def first_token(self) -> tuple[int, list[RequestRow]]:
        """Give every request the token that its prefill computed; the cache holds the prompt alone.

        Returns:
            Tokens emitted, and the requests that ended with it.
        """
        return self._emit(np.ones(len(self.rows), dtype=np.int64), grow=False)

    def emit(self, tokens: Ints) -> tuple[int, list[RequestRow]]:
        """Give each request its new tokens, or as many as it has left to say; those with nothing left leave.

        What was drafted and not accepted is rolled back: caches grow by the tokens given alone.

        Args:
            tokens: accepted drafts and the token that the verification adds, shape (RLP,).

        Returns:
            Tokens emitted, and the requests that ended.
        """
        return self._emit(tokens, grow=True)

    def _emit(self, tokens: Ints, *, grow: bool) -> tuple[int, list[RequestRow]]:
        emitted = np.minimum(self._remaining, tokens)
        self._remaining = self._remaining - emitted
        if grow:
            self.cached = self.cached + emitted
        for row, count in zip(self.rows, emitted.tolist(), strict=True):
            row.emitted_tokens += count
        return int(emitted.sum()), self._drop_finished()

    def _drop_finished(self) -> list[RequestRow]:
        alive = self._remaining > 0
        if alive.all():
            return []
        ended = [row for row, lives in zip(self.rows, alive, strict=True) if not lives]
        self.rows = [row for row, lives in zip(self.rows, alive, strict=True) if lives]
        self.cached, self._remaining = self.cached[alive], self._remaining[alive]
        return ended
