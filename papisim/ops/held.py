"""The bytes of caches and states that requests hold, as functions of their lengths.

A request of ``n`` tokens holds ``S + Σ b·min(n, w)`` bytes: ``S`` of states, which do not grow, and of every kind of cache
``b`` bytes per token, of as many tokens as it keeps (:attr:`papisim.ops.reach.Reach.kept`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import NamedTuple

import numpy as np

from papisim.arrays import IntOrArray, Ints
from papisim.ops.reach import clipped_sums


class Keeping(NamedTuple):
    """Caches of which equally many tokens are kept.

    Attributes:
        limit: the most tokens kept of a request; None without bound.
        token_bytes: bytes of a token, all layers together.
    """

    limit: int | None
    token_bytes: int

    def kept(self, tokens: IntOrArray) -> IntOrArray:
        """Return the tokens kept of a request of a length."""
        if self.limit is None:
            return tokens
        return np.minimum(tokens, self.limit) if isinstance(tokens, np.ndarray) else min(tokens, self.limit)


@dataclass(frozen=True)
class HeldBytes:
    """Bytes that requests hold in caches and states.

    Attributes:
        caches: the caches by the number of tokens that they keep; each limit once.
        state_bytes: bytes of a request's states.
    """

    caches: tuple[Keeping, ...]
    state_bytes: int = 0

    @cached_property
    def token_bytes(self) -> int:
        """Bytes that a token appends."""
        return sum(cache.token_bytes for cache in self.caches)

    @cached_property
    def rate_bytes(self) -> int:
        """Bytes by which room is counted: those that a token appends, or a state's where nothing is appended."""
        return self.token_bytes or self.state_bytes

    @cached_property
    def unit_bytes(self) -> int:
        """The largest number of bytes of which every cache's token takes a whole multiple; 1 of states alone."""
        return gcd(*(cache.token_bytes for cache in self.caches)) or 1

    @cached_property
    def grows_alike(self) -> bool:
        """Whether a request holds every token that it has appended, and nothing else."""
        return not self.state_bytes and all(cache.limit is None for cache in self.caches)

    def of_request(self, tokens: int) -> int:
        """Return the bytes of a request of a length; none before its first token."""
        return sum(cache.token_bytes * cache.kept(tokens) for cache in self.caches) + self.state_bytes * (tokens > 0)

    def of_requests(self, lengths: Ints) -> int:
        """Return the bytes of requests of the given lengths, shape (n,)."""
        kept = (cache.token_bytes * int(cache.kept(lengths).sum()) for cache in self.caches)
        return sum(kept) + self.state_bytes * int((lengths > 0).sum())

    def of_growing(self, lengths: Ints, grown: Ints) -> Ints:
        """Return the bytes of requests when each has grown by the same number of tokens, for each growth, shape (n,)."""
        total = np.full(len(grown), self.state_bytes * len(lengths), dtype=np.int64)
        for cache in self.caches:
            if cache.limit is None:
                total += cache.token_bytes * (int(lengths.sum()) + len(lengths) * grown)
            else:
                total += cache.token_bytes * clipped_sums(lengths, grown, cache.limit)[0]
        return total

    def pages(self, tokens: IntOrArray, page_tokens: int) -> IntOrArray:
        """Return the pages of a request of a length, each of ``page_tokens`` units of :attr:`unit_bytes`.

        Each kind of cache is allocated in whole pages of tokens, a state in whole units.
        """
        if self.grows_alike:
            return -(-tokens // page_tokens) * (self.token_bytes // self.unit_bytes)
        pages = tokens * 0 + -(-self.state_bytes // (page_tokens * self.unit_bytes)) * (tokens > 0)
        for cache in self.caches:
            pages = pages + -(-cache.kept(tokens) // page_tokens) * (cache.token_bytes // self.unit_bytes)
        return pages
