"""Every request has the same lengths."""

from __future__ import annotations

from typing import Literal

import numpy as np

from papisim.config.base import Spec
from papisim.workloads.lengths.base import Pairs, TokenCount


class Fixed(Spec):
    """Every request has the same lengths."""

    kind: Literal["fixed"]
    input_tokens: TokenCount
    output_tokens: TokenCount

    def draw(self, n_requests: int, rng: np.random.Generator, first: int = 0) -> Pairs:
        """Return equal pairs."""
        del rng, first
        return np.full((n_requests, 2), (self.input_tokens, self.output_tokens), dtype=np.int64)
