"""Lengths in a list."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from papisim.config.base import Spec
from papisim.workloads.lengths.base import Pairs, TokenCount


class Listed(Spec):
    """Given (input, output) pairs, in order; repeated when more requests are wanted than there are."""

    kind: Literal["listed"]
    pairs: Annotated[list[tuple[TokenCount, TokenCount]], Field(min_length=1)]

    def draw(self, n_requests: int, rng: np.random.Generator, first: int = 0) -> Pairs:
        """Return the pairs of the list, from the one that request ``first`` has."""
        del rng
        return np.array(self.pairs, dtype=np.int64)[np.arange(first, first + n_requests) % len(self.pairs)]
