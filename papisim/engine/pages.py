"""The KV cache in pages: the pages of each request, and the growth of the batch until they are exhausted.

A request holds ``ceil(tokens / page_tokens)`` pages for the tokens in its cache, those of the current iteration included
(Kwon et al., vLLM, SOSP 2023). Drafts beyond its end are not stored. Pages are allocated

- at admission: for the prompt, or for the whole length with ``kv.reserve: whole``;
- before every iteration: for the tokens in flight.

With a prefix cache (``kv.prefix_cache``), the full blocks of a request's computed tokens are in a tree
(:mod:`papisim.engine.prefix`): a prompt once the step that computes it has ended, an answer when its request ends. A request that is
admitted takes the blocks that its prompt begins with instead of computing them; at least one of its tokens is computed. A block is
counted once, whatever the number of requests that hold it, and idle blocks leave as room is needed: pages are free as long as no
request needs them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable

import numpy as np

from papisim.arrays import Ints
from papisim.config.experiment import KvSpec
from papisim.engine.batch import Batch
from papisim.engine.prefix import Block, Chain, PrefixCache
from papisim.engine.request import Request
from papisim.engine.tiers import Tiers
from papisim.plan.memory import MemoryPlan
from papisim.plan.phase import Phase


class KvPages:
    """The pages of one server's KV cache.

    The number of pages depends on the number of requests that hold some: whole heads lie on one device or channel, and
    the fullest limits the room (:class:`papisim.plan.memory.MemoryPlan`).

    Args:
        spec: how caches are kept.
        memory: the room for them.
        reserves_whole: whether admission allocates the pages of a whole length, unless the spec says otherwise.
        prefixes: the prefix cache, if there is one.
        tiers: moves its blocks below the device and back, if there are such tiers.

    Attributes:
        page_tokens: tokens of one request that a page holds; caches that keep different numbers of tokens have pages of their
            own, which are counted by the size of the smallest common unit (:meth:`papisim.ops.held.HeldBytes.pages`).
        holders: requests that hold pages.
        used: pages held by requests, shared ones once.
        prefixes: the prefix cache, if there is one.
    """

    def __init__(
        self,
        spec: KvSpec,
        memory: MemoryPlan,
        *,
        reserves_whole: bool,
        prefixes: PrefixCache | None = None,
        tiers: Tiers | None = None,
    ) -> None:
        self.page_tokens, self._watermark_ratio = spec.page_tokens, spec.watermark_ratio
        self.holders = self.used = 0
        self._whole = reserves_whole if spec.reserve is None else spec.reserve == "whole"
        self.move(memory)
        self.prefixes, self._tiers = prefixes, tiers
        self._block_pages = 0 if prefixes is None else self.pages(prefixes.block_tokens)

    def move(self, memory: MemoryPlan) -> None:
        """Keep all pages in another memory from now on."""
        self._memory = memory
        self._totals: dict[int | None, int] = {}
        self._granted: tuple[Batch, int, int] | None = None
        self._watermark = 0 if self._whole else int(self._watermark_ratio * self.total(None))

    def would_fit(self, memory: MemoryPlan, batch: Batch, rows: int) -> bool:
        """Tell whether all pages, with those of an iteration of ``rows`` rows per request, would fit into another memory."""
        more = self._after(batch, rows) - int(batch.pages.sum())
        return self.used + more <= self._total(memory, max(1, self.holders))

    def total(self, holders: int | None) -> int:
        """Return the pages of a number of requests with caches of one length, together; of very many, if None."""
        total = self._totals.get(holders)
        if total is None:
            total = self._totals[holders] = self._total(self._memory, holders)
        return total

    def _total(self, memory: MemoryPlan, holders: int | None) -> int:
        held = memory.held
        return int(memory.tokens_of(holders) * (held.rate_bytes // held.unit_bytes) // self.page_tokens)

    @property
    def free(self) -> int:
        """Pages that no request holds; negative where the last request that left had made better use of the room."""
        return self.total(max(1, self.holders)) - self.used

    @property
    def shared_bytes(self) -> int:
        """Bytes that caches would take beyond those they do if nothing were shared."""
        cache = self.prefixes
        return 0 if cache is None else cache.repeats * cache.block_tokens * self._memory.held.token_bytes

    def pages(self, tokens: int) -> int:
        """Return the pages that a request of a number of tokens needs."""
        return self._memory.held.pages(tokens, self.page_tokens)

    def longest(self, tokens: int) -> int:
        """Return the longest request, of at most ``tokens`` tokens, that the whole cache holds."""
        return bisect_right(range(tokens + 1), self.total(1), key=self.pages) - 1

    def whole(self, request: Request) -> int:
        """Return the pages of a request at its longest."""
        return self.pages(request.longest_tokens)

    def demand(self, request: Request) -> int:
        """Return the pages that an admitted request holds, shared ones included."""
        return self.whole(request) if self._whole else self.pages(request.prompt_tokens)

    def fitting(self, requests: Iterable[Request], *, alone: bool) -> int:
        """Return the number of waiting requests that fit, from the first.

        Args:
            requests: the requests, in the order of admission.
            alone: whether no request is admitted; the first then needs no pages to spare (see ``kv.watermark_ratio``).
        """
        count, used, taken = 0, self.used, set[Block]()
        for request in requests:
            found = self._found(request)
            shared = sum(block.holders > 0 or block in taken for block in found)
            used += self.demand(request) - shared * self._block_pages
            free = self.total(self.holders + count + 1) - used
            if free < (0 if alone and not count else self._watermark):
                break
            taken.update(found)
            count += 1
        return count

    def cached_tokens(self, request: Request) -> int:
        """Return the first tokens of a prompt that the prefix cache has, for a request that no server has taken yet."""
        cache = self.prefixes
        if cache is None:
            return 0
        return len(cache.find(Chain(request.text, cache.block_tokens), request.prompt_tokens)) * cache.block_tokens

    def prompt_left(self, request: Request) -> int:
        """Return the tokens that a waiting request would have to compute if it were admitted now."""
        cache = self.prefixes
        return request.prompt_left - (0 if cache is None else len(self._found(request)) * cache.block_tokens)

    def allocate(self, request: Request) -> list[Phase]:
        """Allocate the pages of a request's admission; cached blocks of its prompt count as computed.

        Returns:
            The transfers of blocks from tiers below the device.
        """
        found, cache = self._found(request), self.prefixes
        request.pages = self.demand(request)
        self.used += request.pages
        self.holders += 1
        if cache is None:
            return []
        by_tier = Counter(block.tier for block in found)
        if request.begins:
            cache.admitted(request.prompt_tokens, by_tier)
            request.computed_tokens = len(found) * cache.block_tokens
        self.used -= cache.take(self._chain(request), found) * self._block_pages
        self._make_room()
        return [] if self._tiers is None else self._tiers.fetch(by_tier)

    def keep(self, request: Request) -> None:
        """Cache the full blocks of a request's computed tokens."""
        if self.prefixes is not None:
            twice = self.prefixes.put(self._chain(request), request.computed_tokens)
            self.used -= twice * self._block_pages

    def release(self, request: Request) -> None:
        """Free a request's pages; its full blocks stay in the prefix cache, if there is one."""
        if request.pages and self.prefixes is not None:
            self.keep(request)
            chain = self._chain(request)
            still_held = len(chain.held) - self.prefixes.drop(chain)
            self.used += still_held * self._block_pages
        self.used -= request.pages
        self.holders -= request.pages > 0
        request.pages = 0

    def _chain(self, request: Request) -> Chain:
        assert self.prefixes is not None
        if request.chain is None:
            request.chain = Chain(request.text, self.prefixes.block_tokens)
        return request.chain

    def _found(self, request: Request) -> list[Block]:
        """Return the cached blocks that the prompt of a waiting request begins with."""
        if self.prefixes is None or not request.begins:
            return []
        found = self.prefixes.find(self._chain(request), request.prompt_tokens)
        return found if self._tiers is None else self._tiers.worth(found, request.prompt_tokens)

    def _make_room(self) -> None:
        """Let idle blocks leave for the pages that requests hold; blocks of many requests are spread evenly over devices."""
        cache = self.prefixes
        if cache is not None:
            excess = self.used + cache.idle * self._block_pages - self.total(None)
            if excess > 0:
                left = cache.evict(min(cache.idle, -(-excess // self._block_pages)))
                if self._tiers is not None:
                    self._tiers.write(left)

    def grow(self, batch: Batch, rows: Ints | int) -> bool:
        """Allocate the pages for all tokens in flight, or none if they are too few; returns whether they sufficed.

        Args:
            batch: the decoding requests.
            rows: token-rows of each request, shape (RLP,) or the same for all.
        """
        asked = (batch, batch.changes, rows) if isinstance(rows, int) else None
        if asked is not None and asked == self._granted:
            return True
        needed = self._needed(batch, rows)
        more = int(needed.sum()) - int(batch.pages.sum())
        if more > self.free:
            return False
        if more:
            batch.pages = needed
            self.used += more
            self._make_room()
        self._granted = asked
        return True

    def iterations(self, batch: Batch, rows: int, most: int) -> int:
        """Return the number of iterations, at most ``most``, that the free pages suffice for at ``rows`` rows per request."""
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
        """Return the pages of each request, shape (RLP,), when it has ``tokens`` more, or all that it has left."""
        cached = batch.cached + np.minimum(batch.remaining, tokens)
        return np.maximum(self._memory.held.pages(cached, self.page_tokens), batch.pages)
