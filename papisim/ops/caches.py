"""One decoding attention kernel over many cache lengths, as devices price them at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from papisim.arrays import Ints
from papisim.ops.kernel import Attention


@dataclass(frozen=True)
class AttentionOverCaches:
    """A decoding attention kernel over caches of ``n`` lengths; the formulas are those of :class:`Attention`.

    Attributes:
        kernel: the kernel; its own cache lengths are not used.
        kv_tokens: cached tokens of all requests, the new ones included, shape (n,).
        longest_kv: tokens of the longest cache, shape (n,).

    Raises:
        ValueError: requests have different numbers of query tokens, or queries do not attend to their whole cache.
    """

    kernel: Attention
    kv_tokens: Ints
    longest_kv: Ints

    def __post_init__(self) -> None:
        tokens_per_request(self.kernel)

    @classmethod
    def growing(cls, kernel: Attention, n: int) -> AttentionOverCaches:
        """Return a kernel over ``n`` iterations, between which every cache grows by the query tokens of its request.

        Raises:
            ValueError: requests have different numbers of query tokens: which cache grows by how much is unknown.
        """
        iterations = np.arange(n, dtype=np.int64)
        return cls(
            kernel,
            kernel.kv_tokens + kernel.query_tokens * iterations,
            kernel.longest_kv + tokens_per_request(kernel) * iterations,
        )

    def __iter__(self) -> Iterator[Attention]:
        """Yield the kernel over each of the caches."""
        tlp = tokens_per_request(self.kernel)
        for kv_tokens, longest_kv in zip(self.kv_tokens.tolist(), self.longest_kv.tolist(), strict=True):
            yield replace(self.kernel, kv_tokens=kv_tokens, longest_kv=longest_kv, pairs=tlp * kv_tokens)

    @property
    def pairs(self) -> Ints:
        """(query, key) pairs, shape (n,)."""
        return tokens_per_request(self.kernel) * self.kv_tokens

    @property
    def flop(self) -> Ints:
        """Operations of score, softmax and context, shape (n,)."""
        return self.pairs * self.kernel.flop_per_pair

    @property
    def moved_bytes(self) -> Ints:
        """Bytes read and written: queries, keys, values and context, shape (n,)."""
        return self.kernel.bytes_of_tokens(self.kv_tokens) + self.kernel.query_bytes + self.kernel.context_bytes


def tokens_per_request(kernel: Attention) -> int:
    """Return the query tokens of each request of a decoding kernel (TLP).

    Raises:
        ValueError: the number differs between requests, or queries do not attend to their whole cache.
    """
    tlp, rest = divmod(kernel.query_tokens, kernel.n_requests)
    if rest or kernel.pairs != tlp * kernel.kv_tokens:
        raise ValueError("expected decoding attention with as many query tokens in each request")
    return tlp
