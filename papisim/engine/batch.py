"""The running batch, as arrays: how long each request's cache is and how much it still has to say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from papisim.engine.ledger import RequestRow
from papisim.ops.lower import KvLengths, decode_lengths

_Ints = npt.NDArray[np.int64]


class Batch:
    """Requests decoded together; all lengths in tokens."""

    def __init__(self) -> None:
        self.rows: list[RequestRow] = []
        self._cached: _Ints = np.zeros(0, dtype=np.int64)
        self._remaining: _Ints = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cached_tokens(self) -> int:
        """Tokens in the caches of all requests."""
        return int(self._cached.sum())

    def join(self, rows: list[RequestRow]) -> None:
        """Add requests whose prompts are in their caches; none has emitted a token yet."""
        self.rows += rows
        self._cached = np.append(self._cached, [row.input_tokens for row in rows]).astype(np.int64)
        self._remaining = np.append(self._remaining, [row.output_tokens for row in rows]).astype(np.int64)

    def lengths(self, tlp: int) -> KvLengths:
        """Return what attention of an iteration with ``tlp`` tokens a request works on."""
        return decode_lengths(len(self.rows), tlp, self.cached_tokens, int(self._cached.max(initial=0)))

    def emit(self, tokens: int, *, grow: bool = True) -> tuple[int, list[RequestRow]]:
        """Give every request up to ``tokens`` new tokens; those with nothing left to say leave.

        Args:
            tokens: tokens per request, all accepted.
            grow: whether the caches grow by them; the first token comes out of the prefill, which cached the prompt.

        Returns:
            Tokens emitted, and the requests that ended.

        """
        emitted = np.minimum(self._remaining, tokens)
        self._remaining = self._remaining - emitted
        if grow:
            self._cached = self._cached + tokens
        for row, count in zip(self.rows, emitted.tolist(), strict=True):
            row.emitted_tokens += count
        return int(emitted.sum()), self._drop_finished()

    def _drop_finished(self) -> list[RequestRow]:
        alive = self._remaining > 0
        if alive.all():
            return []
        ended = [row for row, lives in zip(self.rows, alive, strict=True) if not lives]
        self.rows = [row for row, lives in zip(self.rows, alive, strict=True) if lives]
        self._cached, self._remaining = self._cached[alive], self._remaining[alive]
        return ended
