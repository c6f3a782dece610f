"""The KV cache in pages: who holds how many, and how long the batch can grow before they run out.

A request holds ``ceil(tokens / page_tokens)`` pages for the tokens in its cache, those of the iteration at hand included
(Kwon et al., vLLM, SOSP 2023). Drafts beyond its end are not stored. Pages are taken

- at admission: for the prompt, or for the whole length with ``kv.reserve: whole``;
- before every iteration: for the tokens in flight.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from papisim.arrays import Ints
from papisim.config.experiment import KvSpec
from papisim.engine.batch import Batch
from papisim.plan.memory import MemoryPlan
from papisim.record.ledger import RequestRow


class KvPages:
    """The pages of one server's KV cache.

    Attributes:
        page_tokens: tokens of one request that a page holds.
        total: pages there are.
        used: pages held.
    """

    def __init__(self, spec: KvSpec, memory: MemoryPlan, *, reserves_whole: bool) -> None:
        self.page_tokens = spec.page_tokens
        self.total = int(memory.kv_capacity_bytes // (spec.page_tokens * memory.kv_token_bytes))
        self.used = 0
        self._given: tuple[Batch, int, int] | None = None
        self._whole = reserves_whole if spec.reserve is None else spec.reserve == "whole"
        self._watermark = 0 if self._whole else int(spec.watermark_ratio * self.total)

    @property
    def free(self) -> int:
        """Pages that nobody holds."""
        return self.total - self.used

    def pages(self, tokens: int) -> int:
        """Return the pages that so many tokens of one request need."""
        return -(-tokens // self.page_tokens)

    def whole(self, row: RequestRow) -> int:
        """Return the pages of a request at its longest; the last token that it emits is never cached."""
        return self.pages(row.input_tokens + row.output_tokens - 1)

    def demand(self, row: RequestRow) -> int:
        """Return the pages that admitting a request takes."""
        return self.whole(row) if self._whole else self.pages(row.prompt_tokens)

    def fitting(self, rows: Iterable[RequestRow], *, alone: bool) -> int:
        """Return how many of some waiting requests fit, from the first.

        Args:
            rows: the requests, in the order of admission.
            alone: nobody else is in the batch. The first then needs no pages to spare (see ``kv.watermark_ratio``).
        """
        count, free = 0, self.free
        for row in rows:
            free -= self.demand(row)
            if free < (0 if alone and not count else self._watermark):
                break
            count += 1
        return count

    def take(self, row: RequestRow) -> None:
        """Give a request the pages of its admission."""
        row.pages = self.demand(row)
        self.used += row.pages

    def give_back(self, row: RequestRow) -> None:
        """Free a request's pages."""
        self.used -= row.pages
        row.pages = 0

    def grow(self, batch: Batch, rows: Ints | int) -> bool:
        """Give every request that decodes the pages for its tokens in flight, if there are enough for all.

        Args:
            batch: the requests.
            rows: token-rows of each.
        """
        asked = (batch, batch.changes, rows) if isinstance(rows, int) else None
        if asked is not None and asked == self._given:
            return True
        needed = self._needed(batch, rows)
        more = int(needed.sum()) - int(batch.pages.sum())
        if more > self.free:
            return False
        if more:
            batch.pages = needed
            self.used += more
        self._given = asked
        return True

    def iterations(self, batch: Batch, rows: int, most: int) -> int:
        """Return how many iterations of so many rows a request, up to ``most``, the free pages last for."""
        if len(batch) * self.pages(rows * most) <= self.free:
            return most
        room = self.free + int(batch.pages.sum())
        if self._after(batch, rows * most) <= room:
            return most
        low, high = 0, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._after(batch, rows * middle) <= room else (low, middle)
        return low

    def _after(self, batch: Batch, tokens: int) -> int:
        return int(self._needed(batch, tokens).sum())

    def _needed(self, batch: Batch, tokens: Ints | int) -> Ints:
        """Return the pages of each request with so many tokens more, or as many as it has left to say."""
        cached = batch.cached + np.minimum(batch.remaining, tokens)
        return np.maximum((cached + (self.page_tokens - 1)) // self.page_tokens, batch.pages)
