"""Which cached tokens a query sees, and what follows of it for a batch of requests, exactly.

A token at position ``p`` (from 0) has ``p + 1`` keys at or before its own. It sees

- ``full``: all of them;
- ``window``: the last ``w``, its own included (Beltagy et al., Longformer, 2020; Mistral 7B, 2023): ``min(p + 1, w)``;
- ``chunk``: those of its own chunk of ``w`` positions (Llama 4): ``p mod w + 1``;
- ``selected``: ``w`` of them, of its own choice (DeepSeek-V3.2, sparse attention): ``min(p + 1, w)``.

A step of ``q`` new tokens after ``c`` cached ones reads the union of what they see, once; where each token chooses its own,
each reads its own. Decoding kernels compute the rectangle of the new tokens and that union and mask it; kernels for prompts
compute what is seen and no more. A window or a chunk keeps a ring of ``w`` tokens of a request, the others keep all.

Sums over requests are taken here, while lengths are still arrays: ``Σ min(n, w)`` does not follow from ``Σ n``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from papisim.arrays import Ints

#: which cached tokens a query sees
Sees = Literal["full", "window", "chunk", "selected"]


class Seen(NamedTuple):
    """What a step reads and computes, by request or summed over requests.

    Attributes:
        keys: cached tokens read, the new ones included.
        pairs: (query, key) pairs computed.
    """

    keys: Ints
    pairs: Ints


class Reach(NamedTuple):
    """The cached tokens that a query sees.

    Attributes:
        sees: the rule.
        tokens: tokens of the window, of a chunk, or selected; 0 with ``full``.
    """

    sees: Sees = "full"
    tokens: int = 0

    def __str__(self) -> str:
        return f"{self.sees} {self.tokens}" if self.is_bounded else "full"

    @property
    def is_bounded(self) -> bool:
        """Whether some cached tokens may be unseen."""
        return self.sees != "full"

    @property
    def kept(self) -> int | None:
        """The most tokens of a request that are kept; None without bound."""
        return self.tokens if self.sees in ("window", "chunk") else None

    @property
    def is_of_each_token(self) -> bool:
        """Whether each new token reads keys of its own choice, as if it were a request of its own."""
        return self.sees == "selected"

    def decoded(self, cached: Ints, rows: Ints) -> Seen:
        """Return the keys and pairs of ``rows`` new tokens of each request after ``cached`` ones, shapes (RLP,)."""
        match self.sees:
            case "full":
                keys = cached + rows
            case "window":
                keys = np.minimum(cached, self.tokens - 1) + rows
            case "chunk":
                keys = cached % self.tokens + rows
            case "selected":
                keys = rows * np.minimum(cached + rows, self.tokens)
                return Seen(keys, keys)
        return Seen(keys, rows * keys)

    def prompted(self, cached: Ints, rows: Ints) -> Seen:
        """Return the keys and pairs of parts of prompts, ``rows`` tokens after ``cached`` ones, shapes (n,)."""
        end, within = cached + rows, np.clip(self.tokens - cached, 0, rows)
        match self.sees:
            case "full":
                return Seen(end, rows * cached + rows * (rows + 1) // 2)
            case "chunk":
                keys = cached % self.tokens + rows
                return Seen(keys, self._seen_before(end) - self._seen_before(cached))
            case "window":
                keys = np.minimum(cached, self.tokens - 1) + rows
            case "selected":
                keys = end
        return Seen(keys, within * cached + within * (within + 1) // 2 + (rows - within) * self.tokens)

    def _seen_before(self, position: Ints) -> Ints:
        """Return the keys seen by all tokens before a position, in chunks."""
        chunks, rest = np.divmod(position, self.tokens)
        return np.asarray(chunks * (self.tokens * (self.tokens + 1) // 2) + rest * (rest + 1) // 2)

    def growing(self, cached: Ints, tlp: int, n: int) -> tuple[Ints, Ints]:
        """Return the keys that ``n`` iterations read, between which every cache grows by ``tlp`` tokens.

        Args:
            cached: tokens in each request's cache before the first iteration, shape (RLP,).
            tlp: new tokens of each request in each iteration.
            n: iterations.

        Returns:
            Keys summed over requests, and keys of the request that reads most, shapes (n,).
        """
        grown = tlp * np.arange(n, dtype=np.int64)
        match self.sees:
            case "full":
                sums, longest = int(cached.sum()) + len(cached) * grown, int(cached.max()) + grown
            case "window":
                sums, longest = clipped_sums(cached, grown, self.tokens - 1)
            case "chunk":
                sums, longest = _wrapped_sums(cached % self.tokens, grown, self.tokens)
            case "selected":
                sums, longest = clipped_sums(cached, grown + tlp, self.tokens)
                return tlp * sums, longest
        return sums + len(cached) * tlp, longest + tlp


def clipped_sums(lengths: Ints, grown: Ints, limit: int) -> tuple[Ints, Ints]:
    """Return ``Σ min(lengths + grown, limit)`` over lengths, and the largest term, for each growth, shapes (n,)."""
    if not len(lengths):
        return np.zeros_like(grown), np.zeros_like(grown)
    ordered = np.sort(lengths)
    below = np.searchsorted(ordered, limit - grown, side="right")
    sums = np.append(0, np.cumsum(ordered))[below] + below * grown + (len(ordered) - below) * limit
    return sums, np.minimum(ordered[-1] + grown, limit)


def _wrapped_sums(lengths: Ints, grown: Ints, chunk: int) -> tuple[Ints, Ints]:
    """Return ``Σ (lengths + grown) mod chunk`` over lengths below a chunk, and the largest term, for each growth."""
    ordered, grown = np.sort(lengths), grown % chunk
    below = np.searchsorted(ordered, chunk - grown, side="left")
    sums = ordered.sum() + len(ordered) * grown - chunk * (len(ordered) - below)
    # the longest that has not wrapped; where all have, the longest of those
    last = np.where(below > 0, below - 1, len(ordered) - 1)
    return sums, (ordered[last] + grown) % chunk
