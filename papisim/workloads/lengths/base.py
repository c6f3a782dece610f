"""The contract of a kind of lengths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

#: strict, since in a list nothing else would refuse ``true`` for 1
#: the longest request that any reader of traces accepts
MOST_TOKENS = 2**31 - 1
TokenCount = Annotated[int, Field(ge=1, le=MOST_TOKENS, strict=True)]

#: shape [requests, 2]: input and output tokens
Pairs = NDArray[np.int64]

_CHUNK = 1 << 14


class LengthSource(Protocol):
    """Draws the lengths of requests."""

    def draw(self, n_requests: int, rng: np.random.Generator, first: int = 0) -> Pairs:
        """Return the lengths of ``n_requests`` requests, the one numbered ``first`` and those after it."""


def draw_in_chunks(lengths: LengthSource, n_requests: int, rng: np.random.Generator) -> Iterator[Pairs]:
    """Yield the lengths of requests a chunk at a time, so that no more than a chunk is in memory."""
    for first in range(0, n_requests, _CHUNK):
        yield lengths.draw(min(_CHUNK, n_requests - first), rng, first)
